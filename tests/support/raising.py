"""Exceptions that pickle would lose or change. Workers import this module: it imports little."""

import dataclasses
import threading


class TwoArgumentsError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


class KeywordError(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class NoArgumentsError(Exception):
    def __init__(self):
        super().__init__("nothing to say")


class DefaultError(Exception):
    """Reads back without a complaint, with another message."""

    def __init__(self, code, detail=None):
        super().__init__(f"{code} ({detail})")


class NewError(Exception):
    def __new__(cls, *, code):
        return super().__new__(cls, f"code {code}")

    def __init__(self, *, code):
        self.code = code


class FileError(OSError):
    def __init__(self, path, *, why):
        super().__init__(2, why, path)
        self.why = why


class SlotError(Exception):
    __slots__ = ("left", "right")

    def __init__(self, left, *, right):
        self.left, self.right = left, right


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Nothing can be set on it, not even a note."""

    code: int

    def __post_init__(self):
        Exception.__init__(self, "frozen", self.code)


class UnreducibleError(Exception):
    def __reduce__(self):
        raise KeyboardInterrupt


class OtherwiseError(Exception):
    def __reduce__(self):
        return str, ("no exception at all",)


class LockError(Exception):
    """Cannot travel in any way."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class LockLeftOutError(LockError):
    def __reduce__(self):
        return LockLeftOutError, self.args


class SilentError(Exception):
    """Cannot be told in words."""

    def __str__(self):
        raise SystemExit(3)

    def __repr__(self):
        raise KeyboardInterrupt


class HostileError(Exception):
    """Says nothing of itself, not even its class."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class OwnGroupError(ExceptionGroup):
    def __new__(cls, code, errors):
        group = super().__new__(cls, f"code {code}", errors)
        group.code = code
        return group

    def derive(self, errors):
        return OwnGroupError(self.code, errors)


class UnreadableError(Exception):
    """Reads back on the worker that has made it only."""


def two():
    return TwoArgumentsError(3, "three")


#: What arrives as itself.
AS_ITSELF = {
    "two arguments": two,
    "keyword arguments": lambda: KeywordError(code=4),
    "no arguments": NoArgumentsError,
    "an argument less": lambda: DefaultError(5),
    "a __new__ of its own": lambda: NewError(code=6),
    "an error of the system": lambda: FileError("a.txt", why="not today"),
    "slots": lambda: SlotError(1, right=2),
    "frozen": lambda: FrozenError(7),
    "a __reduce__ that raises": lambda: UnreducibleError("x"),
    "a __reduce__ to something else": lambda: OtherwiseError("x"),
    "a __str__ that raises": lambda: SilentError("x"),
    "a lock that it leaves out": lambda: LockLeftOutError("x"),
    "a group": lambda: OwnGroupError(8, [two(), ExceptionGroup("inner", [NoArgumentsError()])]),
    "a long message": lambda: ValueError("long " * 400_000),
    "half a letter": lambda: ValueError("\ud800"),
    "an import": lambda: ImportError("no", name="n", path="p"),
    "a decoder": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "not a number": lambda: ValueError(float("nan")),
    "an object": lambda: ValueError(NoArgumentsError),
}

#: What is told in words, and the words.
IN_WORDS = {
    "a lock": (lambda: LockError("held"), "LockError: held"),
    "an exit": (lambda: SystemExit(3), "SystemExit(3)"),
    "an interrupt": (KeyboardInterrupt, "KeyboardInterrupt()"),
    "an end of iteration": (lambda: StopIteration(9), "StopIteration(9)"),
    "a hostile one": (lambda: HostileError("x"), "HostileError: x"),
    "a group with an exit": (
        lambda: BaseExceptionGroup("both", [SystemExit(3), two()]),
        "BaseExceptionGroup('both', [SystemExit(3), TwoArgumentsError('3: three')])",
    ),
}


def throw(name):
    """Raise what a name stands for, with a note and a cause."""
    made = AS_ITSELF[name]() if name in AS_ITSELF else IN_WORDS[name][0]()
    raise made from two()


def throw_on_rank_one(name):
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 1:
        throw(name)
    MPI.COMM_WORLD.Barrier()
