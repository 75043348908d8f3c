"""Room for descriptors: as many as there are workers, and no more than the system allows."""

import resource

import pytest

from pilotcut.io.descriptors import make_room


@pytest.mark.parametrize(
    ("soft", "hard", "count", "expected"),
    [
        (1024, 4096, 500, 1024),
        (1024, 4096, 1000, 2512),
        (1024, 2048, 4000, 2048),
        (1024, resource.RLIM_INFINITY, 10**6, 65_536),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10**6, None),
        (100_000, 200_000, 10**6, None),
    ],
)
def test_the_limit_follows_what_is_needed(monkeypatch, soft, hard, count, expected):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    make_room(count)
    assert limits[-1] == (expected or soft, hard)
