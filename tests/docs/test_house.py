"""The rules of the house are checked, and what the documentation says of it is so."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "packages").glob("*.md"))


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Return the checks of `.ci/house.py` for an empty package, and its folder."""
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    package = tmp_path / "pilotcut"
    package.mkdir()
    monkeypatch.setattr(module, "PACKAGE", package)
    monkeypatch.setattr(module, "TESTS", tmp_path / "tests")
    monkeypatch.setattr(module, "LONGER", {})
    return module, package


def test_the_house_keeps_its_rules():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "house.py"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_too_long_too_much_or_there_twice_is_a_line(house, capsys):
    module, package = house
    (package / "long.py").write_text("\n" * 451)
    body = "    x = 1\n" * 51
    (package / "body.py").write_text(f'def f():\n    """Do it."""\n{body}\nclass A: pass\n')
    (package / "again.py").write_text("class A: pass\nclass _B: pass\n")
    (package / "b.py").write_text("class _B: pass\n")
    (package / "c.py").write_text("")
    module.LONGER["pilotcut/b.py"] = "it was long once"
    assert module.main()
    said = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in said] == [
        "pilotcut/ has 5 loose modules",
        "pilotcut/body.py:f has 51 lines",
        "pilotcut/long.py has 451 lines",
        "pilotcut/b.py is excepted from the limits and within them; take it out of .ci/house.py",
        "class A stands in pilotcut/again.py and pilotcut/body.py",
    ]


def test_test_files_of_one_name_are_a_line_unless_their_folder_is_a_package(house, capsys):
    module, _ = house
    for folder in ("a", "b", "c"):
        (module.TESTS / folder).mkdir(parents=True)
        (module.TESTS / folder / "test_it.py").touch()
    (module.TESTS / "c" / "__init__.py").touch()
    assert module.main()
    said = capsys.readouterr().out
    assert said == "tests/ has a/test_it.py and b/test_it.py, expected one name for each\n"


def test_what_is_within_the_limits_is_none(house, capsys):
    module, package = house
    body = "    x = 1\n" * 50
    (package / "body.py").write_text(f'def f():\n    """Do\n    it.\n    """\n{body}')
    (package / "long.py").write_text("\n" * 450)
    assert not module.main()
    assert capsys.readouterr().out == ""


def test_every_room_has_a_page_and_stands_in_the_plan():
    rooms = {path.parent.name for path in (ROOT / "pilotcut").glob("*/__init__.py")} - {"io"}
    plan = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {page.stem for page in PAGES} == rooms
    assert {
        room for room in rooms if f"`{room}/`" in plan and f"packages/{room}.md" in plan
    } == rooms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_modules_that_a_page_names_exist(page):
    """`name.py` is one of the page's package, `package/name.py` of another."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    assert named
    package = ROOT / "pilotcut"
    lost = {
        n for n in named if not any((f / n).exists() for f in (package / page.stem, package, ROOT))
    }
    assert lost == set()


@pytest.mark.parametrize("name", ["architecture.md", "glossary.md"])
def test_the_modules_that_the_plan_and_the_glossary_name_exist(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    folders = (ROOT / "pilotcut", ROOT / "pilotcut" / "io", ROOT)
    assert {n for n in named if not any((f / n).exists() for f in folders)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_objects_on_a_page_are_defined_where_it_says(page):
    """Rows of *Objects*: names first, then the modules that define them (none: any)."""
    package = ROOT / "pilotcut"
    table = page.read_text(encoding="utf-8").partition("## Objects")[2].partition("\n## ")[0]
    lost = []
    for row in table.splitlines()[4:]:
        _, names, modules, *_ = row.split("|") if row.startswith("|") else ("", "", "")
        own = re.findall(r"`([\w/]+\.py)`", modules) or ["**/*.py"]
        paths = [
            path for name in own for f in (package / page.stem, package) for path in f.glob(name)
        ]
        text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
        for name in re.findall(r"`(\w+)`", names):
            if not re.search(rf"^(class|def) {name}\b|^{name}\b", text, re.MULTILINE):
                lost.append(name)
    assert lost == []


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / "docs").glob("*.md")], ids=lambda page: page.stem
)
def test_the_attributes_that_a_page_names_exist(page):
    """`Name.attribute` is one of a class of pilotcut."""
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "pilotcut").rglob("*.py"))
    classes = dict(re.findall(r"^class (\w+)(.*?)(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"`([A-Z]\w+)\.(\w+)[`(]", page.read_text(encoding="utf-8")))
    named = {(owner, name) for owner, name in named if name != "md"}
    assert {
        f"{owner}.{name}"
        for owner, name in named
        if not re.search(rf"def {name}\b|\b{name}:|self\.{name}\b", classes.get(owner, ""))
    } == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_modules_of_a_room_stand_on_its_page(page):
    text = page.read_text(encoding="utf-8")
    folder = ROOT / "pilotcut" / page.stem
    modules = {str(p.relative_to(folder)) for p in folder.rglob("*.py") if p.stem[:2] != "__"}
    assert {module for module in modules if module not in text} == set()
