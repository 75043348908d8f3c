"""Atomic writes: a file is there whole, or as it was before."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: bytes | str, *, permissions: int = 0o666) -> None:
    """Write a file under another name and rename it; what fails leaves nothing behind.

    Parameters
    ----------
    path
        The file; its directory must exist.
    content
        Bytes, or text that is written as UTF-8.
    permissions
        Mode bits of a new file, before the umask.

    Raises
    ------
    OSError
        With `path` as its file name, whatever the system says.
    """
    data = content.encode() if isinstance(content, str) else content
    # A name of its own: two workers, or threads of one, may write one file at the same time,
    # and both are right.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(6)}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, permissions)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if type(error) is OSError and error.filename is None:  # "No space left on device", alone
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
