"""Tables of a description's fields, made of its pydantic model: `{fields} pilotcut.…:Model`.

Types and defaults are the model's, words those of its docstring's section *Attributes*.
"""

import types
import typing
from enum import Enum
from importlib import import_module

from numpydoc.docscrape import NumpyDocString
from pydantic_core import PydanticUndefined
from sphinx.util.docutils import SphinxDirective


def type_words(kind):
    """Return a field's type in words that fit YAML."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return type_words(inner[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_words(k) for k in inner if k is not type(None)))
    if origin in (tuple, list):
        return f"list of {type_words(inner[0])}"
    if (origin is not None and "apping" in str(origin)) or origin is dict:
        return f"mapping of {type_words(inner[0])} to {type_words(inner[1])}"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if kind in words:
        return words[kind]
    return (
        "mapping, below" if hasattr(kind, "model_fields") else getattr(kind, "__name__", str(kind))
    )


def default_words(field):
    """Return a field's default as YAML has it."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or value == () or hasattr(value, "model_fields"):
        return ""
    value = value.value if isinstance(value, Enum) else value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def explanations(model):
    """Return the words of a model's docstring for each field that it names."""
    found = {}
    for names, _, lines in NumpyDocString(model.__doc__ or "")["Attributes"]:
        for name in names.split(", "):
            found[name] = " ".join(line.strip() for line in lines)
    return found


class Fields(SphinxDirective):
    """A table of the fields of one model."""

    required_arguments = 1

    def run(self):
        """Return the table, or raise if a field has no words."""
        module, _, name = self.arguments[0].partition(":")
        model = getattr(import_module(module), name)
        words = explanations(model)
        silent = set(model.model_fields) - set(words)
        if silent:
            raise self.error(f"{name}'s docstring has no words for {', '.join(sorted(silent))}")
        rows = [
            f"| `{field.alias or key}` | {type_words(field.annotation)} | {default_words(field)} "
            f"| {words[key]} |".replace("``", "`")
            for key, field in model.model_fields.items()
        ]
        text = "\n".join(["| field | value | default | |", "|---|---|---|---|", *rows])
        return self.parse_text_to_nodes(text)


def setup(app):
    """Register the directive."""
    app.add_directive("fields", Fields)
    return {"parallel_read_safe": True}
