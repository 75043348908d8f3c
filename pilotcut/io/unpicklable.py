"""What runs: copies share it, since there is one of it, and it cannot be written down."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pilotcut.errors import UserError

T = TypeVar("T", bound="Live")


class Live:
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
