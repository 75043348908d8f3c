"""Credentials: told by their names, and refused in descriptions.

A description is copied into run directories and shown in tables. Tokens and passwords stay where
each vendor's client keeps them. The module knows where that is, and never shows a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SECRET = {
    *("token", "tokens", "secret", "secrets", "password", "passwd", "passphrase", "pwd"),
    *("credential", "credentials", "auth", "authorization", "bearer", "jwt", "cookie"),
}
#: What makes a key a credential: ``api_key``, and not ``registry_key``.
_OF_KEYS = {"api", "access", "private", "secret", "account", "auth", "license", "ssh"}
_JOINED = re.compile(r"(?:api|access|private|secret|auth)_?key|(?:access|auth|api)token")
#: Letters that a credential has at least: replaced everywhere, "on" would spoil each text.
LEAST_SECRET = 8
_IN_ADDRESS = re.compile(r"://[^/@\s]*:[^/@\s]+@")

#: Where vendors' clients keep credentials, by the package that a factory is in.
_KEPT = {
    "qiskit_ibm_runtime": "QiskitRuntimeService.save_account(...), or QISKIT_IBM_TOKEN",
    "iqm": "IQM_TOKEN or IQM_TOKENS_FILE",
    "qiskit_aqt_provider": "what AQT's log_in() has kept, or AQT_CLIENT_ID and its secret",
    "qiskit_braket_provider": "AWS's own configuration (aws configure, AWS_PROFILE)",
    "braket": "AWS's own configuration (aws configure, AWS_PROFILE)",
    "qrmi": "QRMI's environment variables, which Slurm's plugin sets",
}
_ELSEWHERE = "the environment or the configuration file that the vendor's client reads"


def is_credential(name: object) -> bool:
    """Return whether an option of that name would be a credential.

    Examples
    --------
    >>> [is_credential(name) for name in ("apiKey", "access_token", "monkey", "max_tokens_s")]
    [True, True, False, True]
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower()
    parts = set(re.split(r"[^a-z0-9]+", words))
    if parts & _SECRET or _JOINED.search(words):
        return True
    return bool(parts & {"key", "keys"}) and bool(parts & _OF_KEYS)


def credentials_in(options: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted names of credentials in options, however deep."""
    if isinstance(options, Mapping):
        for key, value in options.items():
            own = f"{path}.{key}" if path else str(key)
            if is_credential(key):
                yield own
            else:
                yield from credentials_in(value, own)
    elif isinstance(options, str):
        if _IN_ADDRESS.search(options):
            yield path
    elif isinstance(options, Sequence):
        for k, value in enumerate(options):
            yield from credentials_in(value, f"{path}[{k}]")


def kept_where(module: str) -> str:
    """Return where the client whose module it is keeps its credentials."""
    return _KEPT.get(module.split(".")[0], _ELSEWHERE)


def without_credentials(text: str) -> str:
    """Return a text with ``...`` for passwords in addresses, and for this process's credentials.

    These are the values of environment variables whose names say so: a vendor's client may put
    one into the words of an exception.
    """
    for name, value in os.environ.items():
        if len(value) >= LEAST_SECRET and is_credential(name):
            text = text.replace(value, "...")
    return _IN_ADDRESS.sub("://...@", text)


def hidden(value: Any) -> Any:
    """Return a value with ``...`` for credentials in it, to be shown."""
    if isinstance(value, Mapping):
        return {k: "..." if is_credential(k) else hidden(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(hidden, value))
    return _IN_ADDRESS.sub("://...@", value) if isinstance(value, str) else value
