"""Version handshake: a worker must have what its manager has, or results may differ."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

#: What both sides must agree on, beside Python.
PACKAGES = ("pilotcut", "qiskit", "qiskit-aer")


def installed(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and packages; one that is not installed is "none"."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def differences(manager: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Return one phrase for each package whose version differs.

    Examples
    --------
    >>> differences({"python": "3.11.7", "qiskit": "2.6.2"}, {"python": "3.11.7", "qiskit": "2.5.0"})
    ['qiskit is 2.5.0 here and 2.6.2 at the manager']
    """  # noqa: E501
    return [
        f"{name} is {here.get(name, 'none')} here and {version} at the manager"
        for name, version in manager.items()
        if here.get(name) != version
    ]
