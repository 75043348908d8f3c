"""Base class of what is not pickled: objects with processes or threads of their own.

A copy is the object itself, since there is one set of processes; it refuses to know whose.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pilotcut.errors import UserError

T = TypeVar("T", bound="Unpicklable")


class Unpicklable:
    """An object with processes or threads of its own.

    A model that is copied, to average its weights say, goes on running where it ran; pickling
    says in one line what to do instead.
    """

    _instead: ClassVar[str] = "make it again where it is wanted"

    def __copy__(self: T) -> T:
        return self

    def __deepcopy__(self: T, memo: dict[int, Any]) -> T:
        return self

    def __reduce_ex__(self, protocol: object) -> Any:
        raise UserError(
            f"a {type(self).__name__} is found in what is pickled, expected nothing that has live "
            f"pilots; {self._instead}"
        )
