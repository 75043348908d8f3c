"""Each motif has a picture on its page that is readable in light and dark."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pilotcut.study.motifs.answer import MOTIFS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "motifs.md").read_text("utf-8")


@pytest.mark.parametrize("name", MOTIFS)
def test_a_motif_has_a_picture_with_words_for_those_who_do_not_see_it(name):
    (words,) = re.findall(rf"!\[([^\]]+)\]\(motifs/{name}\.svg\)", PAGE)
    assert len(words.split()) > 5


@pytest.mark.parametrize("name", MOTIFS)
def test_a_picture_has_both_sets_of_colours_and_no_other(name):
    text = (DOCS / "motifs" / f"{name}.svg").read_text("utf-8")
    ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    drawn = text.partition("</style>")[2]
    assert "var(--ink)" in drawn
    assert "var(--paper)" in drawn
    assert not re.findall(r"(?:fill|stroke): #\w+", drawn)
