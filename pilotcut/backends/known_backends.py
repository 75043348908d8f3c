"""Backends by name: Qiskit's fake ones, and any that a module has or makes."""

from __future__ import annotations

import importlib
from functools import lru_cache

from qiskit.providers import BackendV2

from pilotcut.errors import DescriptionError
from pilotcut.options import did_you_mean
from pilotcut.pilots.description.credentials import without_credentials


def known_backend(name: str, like: str, field: str = "like") -> BackendV2:
    """Return the backend that a field of a pilot's ``backend.qpu`` names.

    Raises
    ------
    DescriptionError
        If there is none.
    """
    try:
        return _backend_called(like)
    except LookupError as error:
        raise DescriptionError(
            [f"pilot '{name}': backend.qpu.{field} is '{like}', expected {error}"]
        ) from None


def refresh(name: str, like: str) -> None:
    """Have a backend that can do so read its properties and its target anew."""
    again = getattr(known_backend(name, like), "refresh", None)
    if callable(again):
        again()


@lru_cache(maxsize=64)
def _backend_called(like: str) -> BackendV2:
    """Return the backend of that name; LookupError says why there is none."""
    module, _, attribute = like.rpartition(":")
    if not module:
        return _fake_backend(like)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"a module and what is in it ({error})") from error
    except (Exception, SystemExit) as error:  # the module is the user's
        raise LookupError(
            f"a module that can be imported; it raised {type(error).__name__}. "
            f"`python -c 'import {module}'` shows where"
        ) from error
    backend = found if isinstance(found, BackendV2) else _made(found)
    if not isinstance(backend, BackendV2):
        raise LookupError(f"a BackendV2 or what makes one; it is a {type(backend).__name__}")
    return backend


def _made(maker: object) -> object:
    if not callable(maker):
        return maker
    try:
        return maker()
    except (Exception, SystemExit) as error:  # it is the user's function
        said = without_credentials(repr(error))[:300]
        raise LookupError(f"a BackendV2 or what makes one; it raised {said}") from error


def _fake_backend(like: str) -> BackendV2:
    try:
        provider = importlib.import_module("qiskit_ibm_runtime.fake_provider")
    except ImportError:
        raise LookupError(
            "qiskit-ibm-runtime, which has the fake backends and is not installed; pip install "
            "'pilotcut[ibm]', or name module:attribute"
        ) from None
    # FakeProviderForBackendV2 stands beside them and is none.
    names = [
        name
        for name, found in vars(provider).items()
        if name.startswith("Fake") and isinstance(found, type) and issubclass(found, BackendV2)
    ]
    if like not in names:
        raise LookupError(
            f"a backend of qiskit_ibm_runtime.fake_provider{did_you_mean(like, names)}"
        )
    return getattr(provider, like)()
