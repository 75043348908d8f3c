"""Frames between managers and workers: whole, in order, however the network cuts them."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotcut.pilots.worker.frames import FramedProtocol, FrameKind


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = b""

    def is_closing(self):
        return False

    def write(self, data):
        self.written += data


class End(FramedProtocol):
    """One end that keeps what it hears."""

    def __init__(self):
        super().__init__()
        self.heard = []
        self._transport = Wire()

    def take(self, kind, number, payload):
        self.heard.append((kind, number, payload))


def sent_and_heard(frames, cuts):
    writer, reader = End(), End()
    for frame in frames:
        writer.send(*frame)
    left, turn = writer._transport.written, 0
    while left:
        size = cuts[turn % len(cuts)]
        reader.data_received(left[:size])
        left, turn = left[size:], turn + 1
    return reader.heard


some_frames = st.tuples(
    st.sampled_from(FrameKind), st.integers(0, 2**64 - 1), st.binary(max_size=60)
)


# Beside other work on the machine drawing frames may take long.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(some_frames, max_size=6), st.lists(st.integers(1, 80), min_size=1, max_size=8))
def test_frames_arrive_as_they_were_sent_in_whatever_pieces(frames, cuts):
    assert sent_and_heard(frames, cuts) == frames


def test_long_frames_arrive_too():
    frames = [(FrameKind.RUN, k, bytes([k]) * 300_000) for k in range(3)]
    frames += [(FrameKind.DONE, 1, b"short"), (FrameKind.RUN, 9, b"y" * 262_145)]
    for cuts in ([65_536, 7], [10**9], [262_144]):
        assert sent_and_heard(frames, cuts) == frames


def test_what_waits_for_the_network_is_sent_in_order():
    writer, reader = End(), End()
    writer.pause_writing()
    writer.send(FrameKind.RUN, 1, b"a" * 300_000, b"b")
    writer.send(FrameKind.RECALL, 1)
    assert writer._transport.written == b""
    writer.resume_writing()
    reader.data_received(writer._transport.written)
    assert reader.heard == [
        (FrameKind.RUN, 1, b"a" * 300_000 + b"b"),
        (FrameKind.RECALL, 1, b""),
    ]
