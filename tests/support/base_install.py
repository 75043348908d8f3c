"""A base install, played in an environment that has more: all else cannot be imported.

    python tests/support/base_install.py [EXTRA ...] < SCRIPT

runs a script where only those packages are found that setup.cfg's requirements bring, with those of
the extras: their distributions, the distributions that these require, and so on. The script may
call `only` to go on with those of other extras.
"""

import configparser
import re
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import ClassVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parents[2]


def requirements(*extras):
    """Return what setup.cfg asks for, with what some extras ask for."""
    config = configparser.ConfigParser()
    config.read(HERE / "setup.cfg")
    texts = [config["options"]["install_requires"]]
    texts += [config["options.extras_require"][extra] for extra in extras]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    found = []
    for line in lines:
        own = re.match(r"pilotcut\[(.+)\]", line)
        if own:
            found += requirements(*own[1].split(","))
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


def closure(asked):
    """Return the distributions that requirements bring here, and which of them are lacking."""
    brought, lacking, open_ends = {}, set(), list(asked)
    while open_ends:
        one = open_ends.pop()
        name = canonicalize_name(one.name)
        if one.extras <= brought.get(name, set()) and name in brought:
            continue
        try:
            wanted = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            lacking.add(name)
            continue
        brought[name] = brought.get(name, set()) | one.extras
        for line in wanted:
            further = Requirement(line)
            environments = [{"extra": extra} for extra in (*brought[name], "")]
            if further.marker is None or any(map(further.marker.evaluate, environments)):
                open_ends.append(further)
    return set(brought), lacking


def strangers(*extras):
    """Return the top-level modules of distributions that an install does not bring."""
    brought, _ = closure(requirements(*extras))
    brought |= {"pilotcut", "pip", "setuptools"}
    ours, others = set(), set()
    for one in metadata.distributions():
        (ours if canonicalize_name(one.name) in brought else others).update(top_levels(one))
    return others - ours


def top_levels(distribution):
    """Yield the top-level modules of a distribution."""
    # `packages_distributions` of the standard library takes three seconds for the same.
    for line in (distribution.read_text("RECORD") or "").splitlines():
        top, _, rest = line.partition(",")[0].partition("/")
        name, _, suffix = top.partition(".")
        if (rest and not suffix) or suffix == "py" or suffix.endswith("so"):
            yield name


class FewerModules(PathFinder):
    """The finder of what is installed, without some modules: they are as if they were not there."""

    refused: ClassVar[set[str]] = set()

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """Find a module unless it is one of those."""
        if name.partition(".")[0] in cls.refused:
            return None
        return super().find_spec(name, path, target)


def only(*extras):
    """Refuse from now on whatever an install with these extras does not bring."""
    # What site or this script has loaded would be found without being looked for.
    refused = strangers(*extras)
    for name in [name for name in sys.modules if name.partition(".")[0] in refused]:
        del sys.modules[name]
    FewerModules.refused = refused
    if PathFinder in sys.meta_path:
        sys.meta_path[sys.meta_path.index(PathFinder)] = FewerModules


if __name__ == "__main__":
    script = sys.stdin.read()
    only(*sys.argv[1:])
    exec(compile(script, "<base install>", "exec"), {"__name__": "__main__", "only": only})
