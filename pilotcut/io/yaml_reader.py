"""YAML reader: plain data from a text, with nothing lost, guessed or without bounds.

A key that is given twice is refused, and 10:30:00 stays a text. Merge keys (``<<``) mean what
they mean in YAML. How much a text can say is bounded, anchors and aliases included: a few lines
of them can stand for more than any machine holds. This module refuses to know what the data mean.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

#: Most values in a text (those behind aliases counted each time), and levels.
MOST_VALUES, MOST_LEVELS = 50_000, 32

_MERGE = "tag:yaml.org,2002:merge"


def load_yaml(text: str | bytes) -> Any:
    """Return what a text of YAML says, within bounds.

    Raises
    ------
    yaml.YAMLError
        If it says nothing that can be read, or too much.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except ValueError as error:  # of a date such as 2026-99-99
        raise yaml.YAMLError(str(error)) from None
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


class TooMuchError(yaml.MarkedYAMLError):
    """YAML that says more than can be read."""


_TOO_DEEP = f"is nested too deeply, expected at most {MOST_LEVELS} levels"
_TOO_MANY = (
    f"too many values, counting those behind an alias each time: expected at most {MOST_VALUES}; "
    f"say what is alike once"
)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice and more than enough, and keeps 10:30:00 a text."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._values = self._level = 0
        self._measures: dict[int, tuple[int, int]] = {}  # by node: values and levels of it
        self._checked: set[int] = set()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node, while all of them are few enough."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)  # type: ignore[no-untyped-call]
        self._level += 1
        self._bound(self._level <= MOST_LEVELS, _TOO_DEEP, mark)
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if is_alias and id(node) not in self._measures:
            self._bound(False, "an alias is part of what it stands for, expected an end", mark)
        if not is_alias:
            self._measures[id(node)] = self._measure(node)
        values, levels = self._measures[id(node)]
        self._values += values if is_alias else 1
        self._bound(self._values <= MOST_VALUES, _TOO_MANY, mark)
        self._bound(self._level + levels - 1 <= MOST_LEVELS, _TOO_DEEP, mark)
        self._level -= 1
        return node

    def _measure(self, node: yaml.Node) -> tuple[int, int]:
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        below = [n for item in inner for n in (item if isinstance(item, tuple) else (item,))]
        measures = [self._measures[id(n)] for n in below]
        return 1 + sum(m[0] for m in measures), 1 + max((m[1] for m in measures), default=0)

    def _bound(self, is_within: bool, fault: str, mark: yaml.Mark) -> None:
        if not is_within:
            raise TooMuchError(None, None, fault, mark)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what merge keys stand for in their place, once the keys have been looked at.

        Only once: after that merged ones stand beside those that take precedence.
        """
        if id(node) not in self._checked:
            self._checked.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            is_merge = key_node.tag == _MERGE
            key = "<<" if is_merge else self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, Hashable):
                continue
            if (key, is_merge) in seen:
                raise _fault(
                    f"'{key}' is given twice, first on line {seen[key, is_merge]}"
                    f"{'; merge several as <<: [*one, *two]' if is_merge else ''}",
                    key_node.start_mark,
                )
            seen[key, is_merge] = key_node.start_mark.line + 1


def _fault(text: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, text, mark)


# YAML 1.1 reads 10:30:00 as the number 37800 in base 60, but 01:30:00 as a text.
_BASE_60 = re.compile(r"[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?\Z")
_Loader.add_implicit_resolver("tag:yaml.org,2002:str", _BASE_60, list("-+0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: sorted(resolvers, key=lambda pair: pair[1] is not _BASE_60)
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
