"""Stored calls: packed calls with big arguments, in memory that a worker of this machine maps.

The memory has no name: it ends with the last process that holds it, however that ends, and only
processes of the same user can open it. A worker maps it privately, so an array in it is not
copied once more, and may be written to. A worker of another machine gets the bytes.
"""

from __future__ import annotations

import functools
import mmap
import os
import pickle
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pilotcut.pilots.worker.payload import Call, pack_call

#: From this size on a buffer is stored, and not packed with the call.
LARGE_BYTES = 1_000_000
_ALIGNED = 64
#: What a payload of several parts begins with, which no pickle does.
_START = b"PARTS"
_MOST_WRITTEN = 2**30


@dataclass(frozen=True)
class Place:
    """Where memory of another process is found, on the same machine."""

    pid: int
    descriptor: int
    inode: int

    def open(self) -> int:
        """Return a descriptor of our own for it; OSError if it is not there, or not any more."""
        path = f"/proc/{self.pid}/fd/{self.descriptor}"
        # Looked at before it is opened: on another machine it may be a pipe, which would wait.
        if os.stat(path).st_ino == self.inode:
            found = os.open(path, os.O_RDONLY)
            if os.fstat(found).st_ino == self.inode:
                return found
            os.close(found)
        raise OSError(f"the memory of process {self.pid} has gone")


class Memory:
    """Memory without a name, for processes of this machine and user."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._descriptor = os.memfd_create("pilotcut")
        self.place = Place(os.getpid(), self._descriptor, os.fstat(self._descriptor).st_ino)
        for at, part in zip(_offsets(map(len, parts)), parts, strict=True):
            _write(self._descriptor, at, part)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "_descriptor"):
            close(self._descriptor)  # bound above: at the end of a process `os` may have gone

    def map(self) -> mmap.mmap:
        """Return what it holds."""
        return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)


def _write(descriptor: int, at: int, part: Any) -> None:
    left = memoryview(part)
    while left:
        written = os.pwrite(descriptor, left[:_MOST_WRITTEN], at)
        left, at = left[written:], at + written


def _offsets(sizes: Any) -> Iterator[int]:
    at = 0
    for size in sizes:
        yield at
        at += -(-size // _ALIGNED) * _ALIGNED


@dataclass(frozen=True)
class MappedCall:
    """A packed call in memory of the manager's machine: the sizes of its parts, and where."""

    sizes: tuple[int, ...]
    place: Place

    def load(self) -> Any:
        """Return what was packed."""
        descriptor = self.place.open()
        try:
            mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)
        return _load(mapped, self.sizes)


@dataclass(frozen=True)
class CarriedCall:
    """A packed call that has travelled whole."""

    sizes: tuple[int, ...]
    content: Any

    def __reduce__(self) -> Any:
        return CarriedCall, (self.sizes, pickle.PickleBuffer(self.content))

    def load(self) -> Any:
        """Return what was packed."""
        return _load(self.content, self.sizes)


def _load(content: Any, sizes: Sequence[int]) -> Any:
    view = memoryview(content)
    offsets = _offsets(sizes)
    head, *buffers = [view[at : at + size] for at, size in zip(offsets, sizes, strict=True)]
    return pickle.loads(head, buffers=buffers)


class StoredCall:
    """A packed call with big arguments, as its manager holds it until the call has ended."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._sizes = tuple(map(len, parts))
        self._memory = Memory(parts)

    def for_worker(self, is_near: bool) -> MappedCall | CarriedCall:
        """Return what travels to a worker, which is on this machine or not."""
        if is_near:
            return MappedCall(self._sizes, self._memory.place)
        return CarriedCall(self._sizes, self._memory.map())


def pack_or_store(call: Call) -> bytes | StoredCall:
    """Return a call packed, or stored if it is big and this system has such memory."""
    buffers: list[pickle.PickleBuffer] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        """Take a big buffer out of what is packed; say whether it is to stay there."""
        if buffer.raw().nbytes < LARGE_BYTES:
            return True
        buffers.append(buffer)
        return False

    if not hasattr(os, "memfd_create"):
        return pack_call(call)
    head = pack_call(call, take)
    if not buffers and len(head) < LARGE_BYTES:
        return head
    try:
        return StoredCall([head, *(buffer.raw() for buffer in buffers)])
    except OSError:  # no descriptor is left, say: thousands of them may be under way
        return pack_call(call)


def to_parts(value: Any) -> list[Any]:
    """Return a value as the parts of a payload: big buffers in it are not copied for that."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, 5, buffer_callback=buffers.append)
    if not buffers:
        return [head]
    parts = [head, *(buffer.raw() for buffer in buffers)]
    sizes = pickle.dumps([len(part) for part in parts], 5)
    padded = [_START, len(sizes).to_bytes(_ALIGNED - len(_START), "big"), _padded(sizes)]
    return [*padded, *map(_padded, parts[:-1]), parts[-1]]


def from_payload(payload: bytes | bytearray) -> Any:
    """Return the value; its big buffers stay where they came in."""
    if not payload.startswith(_START):
        return pickle.loads(payload)
    view = memoryview(payload)
    length = int.from_bytes(view[len(_START) : _ALIGNED], "big")
    sizes = pickle.loads(view[_ALIGNED : _ALIGNED + length])
    return _load(view[_ALIGNED + -(-length // _ALIGNED) * _ALIGNED :], sizes)


def _padded(part: Any) -> Any:
    missing = -len(part) % _ALIGNED
    return part if not missing else b"".join((part, bytes(missing)))


class Secret:
    """What shows that a worker can open our memory: it says what stands there."""

    def __init__(self) -> None:
        self._content = secrets.token_bytes(32)
        has_memory = hasattr(os, "memfd_create")
        self._memory = Memory([self._content]) if has_memory else None

    @property
    def question(self) -> bytes:
        """What a worker is asked."""
        return pickle.dumps(self._memory and self._memory.place)

    def is_answered_by(self, answer: bytes | bytearray) -> bool:
        """Return whether a worker has read it."""
        return secrets.compare_digest(answer, self._content)


@functools.cache
def own_secret() -> Secret:
    """Return the secret of this process."""
    return Secret()


def answer_to(question: bytes | bytearray) -> bytes:
    """Return what stands where a manager says, or nothing."""
    place: Place | None = pickle.loads(question)
    if place is None:
        return b""
    try:
        descriptor = place.open()
    except OSError:  # another machine, or somebody else's
        return b""
    try:
        return os.pread(descriptor, 64, 0)
    finally:
        os.close(descriptor)
