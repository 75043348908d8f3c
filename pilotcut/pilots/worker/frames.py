"""Frames: what a manager and a worker say to each other over a connection of their own.

A frame is its kind, the number of the launch that it is about, the length of its payload, and
that. Both sides are asyncio's, and cheap: a frame is a struct and a write. This module refuses to
know what a payload means.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from collections.abc import Iterator

_HEAD = struct.Struct("!BQQ")

_LONG_BYTES = 65_536

#: A connection to a node that is cut off silently is given up after this time.
SILENCE_S = 12


class FrameKind(enum.IntEnum):
    """What a frame says."""

    #: Manager: what stands in this memory? Worker: that, if it is of the same machine.
    HELLO = 1
    #: Manager: run these calls. Worker: how they have ended.
    RUN = 2
    DONE = 3
    #: Manager: give these calls back, if they have not begun. Worker: they are given back.
    RECALL = 4
    RETURNED = 5
    #: Worker: whether calls of other managers are here.
    SHARED = 6
    #: Manager that comes back if its connection is lost, before HELLO: who it is, for how long its
    #: calls and their outcomes are kept, and the numbers of those that it waits for.
    RESUME = 7
    #: Such a manager: it has these outcomes.
    TAKEN = 8


class FramedProtocol(asyncio.Protocol):
    """One end of a connection: frames in, frames out."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._wanted = _HEAD.size
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; both ends notice a silent network."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _notice_silence(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Take in what has come, and handle the frames that are whole by now."""
        self._received += data
        if len(self._received) >= self._wanted:
            for kind, number, payload in self._whole_frames():
                self.take(FrameKind(kind), number, payload)

    def _whole_frames(self) -> Iterator[tuple[int, int, bytes]]:
        received, at = self._received, 0
        self._wanted = _HEAD.size
        while len(received) - at >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(received, at)
            end = at + _HEAD.size + length
            if end > len(received):
                self._wanted = end - at
                break
            payload = bytes(memoryview(received)[at + _HEAD.size : end])
            at = end
            yield kind, number, payload
        del received[:at]

    def take(self, kind: FrameKind, number: int, payload: bytes) -> None:
        """Handle a frame."""
        raise NotImplementedError

    def send(self, kind: FrameKind, number: int = 0, payload: bytes = b"") -> None:
        """Send a frame, if the other side is there still."""
        if self.is_open:
            assert self._transport is not None
            head = _HEAD.pack(kind, number, len(payload))
            # One record of TLS each; what is long is not copied for that.
            parts = (head, payload) if len(payload) > _LONG_BYTES else (head + payload,)
            self._transport.writelines(parts)

    def close(self) -> None:
        """Let go of the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _notice_silence(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENCE_S // 3),
        ("TCP_KEEPINTVL", SILENCE_S // 6),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 1000 * SILENCE_S),
    ):
        if hasattr(socket, name):  # as far as this system has them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
