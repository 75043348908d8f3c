"""No host of a vendor and no credential is in the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("pilotcut", "tests", "docs", "examples", "pilot_descriptions", "benchmarks", "findings")
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".cfg", ".sh", ".txt", ".json", ".sbatch", ""}

#: Domains of services that run circuits, put together here so that this file has none.
VENDORS = ("ibm", "meetiqm", "iqm", "aqt", "amazonaws", "ionq", "rigetti", "quantinuum", "pasqal")
HOST = re.compile(
    r"(?<![\w.@])(?:[a-z0-9-]+\.)+(?:" + "|".join(VENDORS) + r")\.(?:com|fi|eu|io|cloud|co)\b",
    re.IGNORECASE,
)
#: What tokens of theirs, and of the machines that hold them, look like.
TOKEN = re.compile(
    r"AKIA[0-9A-Z]{16}|ghp_\w{30}|eyJhbGciOi[\w-]{20}|crn:v1:bluemix:public:quantum-computing:\S{20}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{20}"
)


def texts():
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    paths += [path for path in ROOT.iterdir() if path.is_file()]
    for path in paths:
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8", errors="ignore")


@pytest.mark.parametrize("pattern", [HOST, TOKEN], ids=["hosts", "tokens"])
def test_the_repository_names_no_host_of_a_vendor_and_holds_no_token(pattern):
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in texts()
        for match in pattern.finditer(text)
    }
    assert found == set()


def test_the_patterns_find_what_they_are_for():
    assert HOST.search("https://auth.quantum." + "ibm.com/api")
    assert HOST.search("cocos.resonance." + "meetiqm.com")
    assert not HOST.search("qiskit_ibm_runtime.SamplerV2")
    assert TOKEN.search("AKIA" + "A" * 16)
