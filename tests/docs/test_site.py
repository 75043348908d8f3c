"""What the site has to have, without building it; `make docs` builds it and runs its notebooks."""

import re
from pathlib import Path

import pytest

import pilotcut

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if not {"_build", ".jupyter_cache"} & set(path.relative_to(DOCS).parts)
)


def test_every_public_name_has_a_page_in_the_reference():
    listed = set(
        re.findall(r"^   (\w+)$", (DOCS / "reference" / "api.rst").read_text("utf-8"), re.M)
    )
    assert set(pilotcut.__all__) - {"__version__"} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_of_more_than_1500_words_has_a_picture_or_a_table(page):
    text = page.read_text("utf-8")
    assert len(text.split()) <= 1500 or re.search(r"!\[|^\|.*\|$", text, re.MULTILINE)
