"""What the README and the pages of the site show works as it stands there.

Notebooks run when the site is built (`make docs`); here are the blocks of all other pages.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [
    page for part in ("how-to", "explanation") for page in (ROOT / "docs" / part).glob("*.md")
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
BLOCKS = [
    pytest.param(block, id=f"{name}-{n}", marks=[pytest.mark.mpi] if "mpi4py" in block else [])
    for name, text in TEXTS.items()
    for n, block in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_python_block_of_a_page_runs_and_prints_what_it_says(
    block, tmp_path, monkeypatch, capsys
):
    """A number or a truth value behind `print(…)  #` is what it prints."""
    monkeypatch.chdir(tmp_path)
    if "mpi4py" in block:
        pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    if "__main__" in block:  # it starts processes, which read the script
        printed = run_script(block, tmp_path / "example.py")
    else:
        exec(compile(block, "example", "exec"), {"__name__": "example"})
        printed = capsys.readouterr().out
    said = re.findall(r"^ *print\(.*\)  # ([\d.]+|True)$", block, re.MULTILINE)
    assert [line for line in said if line not in printed.splitlines()] == []


def run_script(block, script):
    """Run a script in a process of its own and return what it prints."""
    script.write_text(block, encoding="utf-8")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if "```pycon" in text])
def test_a_session_on_a_page_prints_what_it_shows(name):
    assert doctest.testfile(str(ROOT / name), module_relative=False).failed == 0


def test_readme_names_files_that_exist_in_at_most_900_words():
    text = TEXTS["README.md"]
    assert len(text.split()) <= 900
    for name in re.findall(r"\]\(([\w/.-]+)\)", text):
        assert (ROOT / name).exists(), name
