"""Atomic writes: a file is there whole, or as it was before."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_atomically(
    path: Path, content: bytes | str, *, permissions: int = 0o666, durable: bool = False
) -> None:
    """Write a file under another name and rename it; what fails leaves nothing behind.

    Parameters
    ----------
    path
        The file; its directory must exist.
    content
        Bytes, or text that is written as UTF-8.
    permissions
        Mode bits of a new file, before the umask.
    durable
        Return once it is on the disk, for what must survive a machine that goes down.

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
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
        if durable:
            _sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if type(error) is OSError and error.filename is None:  # "No space left on device", alone
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
