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
from collections import deque
from collections.abc import Iterator
from typing import Any

_HEAD = struct.Struct("!BQQ")

#: A frame as long as that is sent in pieces, and received into a place of its own.
_LONG_BYTES, _PIECE = 262_144, 262_144

#: A connection to a node that is cut off silently is given up after this time.
SILENCE_S = 12

#: A long one is a bytearray, and whoever gets it may keep it.
Payload = bytes | bytearray


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
        self._long: tuple[int, int, bytearray] | None = None  # a frame that is coming in
        self._filled = 0
        self._waiting: deque[memoryview] = deque()  # what is to be sent and finds no room
        self._is_paused = False
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
        if self._long is not None:
            data = self._fill(data)
        self._received += data
        while len(self._received) >= self._wanted:
            for kind, number, payload in self._whole_frames():
                self.take(FrameKind(kind), number, payload)
            if self._long is None:
                break
            rest, self._received = bytes(self._received), bytearray()
            self._wanted = _HEAD.size
            self._received += self._fill(rest)

    def _whole_frames(self) -> Iterator[tuple[int, int, Payload]]:
        received, at = self._received, 0
        self._wanted = _HEAD.size
        while len(received) - at >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(received, at)
            end = at + _HEAD.size + length
            if end > len(received):
                if length > _LONG_BYTES:  # it gets its place at once, where it can stay
                    self._long, self._filled = (kind, number, bytearray(length)), 0
                    at += _HEAD.size
                else:
                    self._wanted = end - at
                break
            payload = bytes(memoryview(received)[at + _HEAD.size : end])
            at = end
            yield kind, number, payload
        del received[:at]

    def _fill(self, data: bytes) -> bytes:
        """Put data into the long frame that comes in; return what lies behind it."""
        assert self._long is not None
        kind, number, payload = self._long
        some = data[: len(payload) - self._filled]
        payload[self._filled : self._filled + len(some)] = some
        self._filled += len(some)
        if self._filled == len(payload):
            self._long = None
            self.take(FrameKind(kind), number, payload)
        return data[len(some) :]

    def take(self, kind: FrameKind, number: int, payload: Payload) -> None:
        """Handle a frame."""
        raise NotImplementedError

    def send(self, kind: FrameKind, number: int = 0, *parts: Any) -> None:
        """Send a frame, if the other side is there still; its payload may be in parts."""
        if not self.is_open:
            return
        assert self._transport is not None
        length = sum(map(len, parts))
        head = _HEAD.pack(kind, number, length)
        if length <= _LONG_BYTES and not self._waiting:
            self._transport.write(b"".join((head, *parts)))
            return
        for part in (head, *parts):
            view = memoryview(part)
            self._waiting += (view[at : at + _PIECE] for at in range(0, len(view), _PIECE))
        self._send_on()

    def _send_on(self) -> None:
        """Send as much of what waits as the network takes: not all of it is encrypted at once."""
        assert self._transport is not None
        while self._waiting and not self._is_paused:
            self._transport.write(self._waiting.popleft())

    def pause_writing(self) -> None:
        """Send no more for a while."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_paused = False
        if self.is_open:
            self._send_on()

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
