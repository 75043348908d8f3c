"""Fixtures of the tests of the performance model."""

import pytest
from support.calibrations import LARGE, SMALL, install


@pytest.fixture(scope="module")
def known_pilots(tmp_path_factory):
    """Keep made-up calibrations of this process and of two pilots, in a place of their own."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("PILOTCUT_CACHE_DIR", str(place))
        for pilot in (None, SMALL, LARGE):
            install(pilot)
        yield place
