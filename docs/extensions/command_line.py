"""The command-line reference, made of the commands themselves: `{command-line}` on a page.

Each command's Markdown is that of `typer utils docs`.
"""

import html
import re

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

from pilotcut.cli import app as commands


def markdown():
    """Return the reference as Markdown, with headings that go below a page's."""
    command = get_command(commands)
    text = get_docs_for_click(obj=command, ctx=Context(command), name="pilotcut")
    text = re.sub(r"^# .*\n", "", text)
    text = re.sub(r"\[default: \((.*?)\)\]", r"[default: \1]", html.unescape(text))
    # Outside of code, what stands in angle brackets would be HTML.
    parts = re.split(r"(```.*?```|`[^`]*`)", text.replace("```console", "```text"), flags=re.DOTALL)
    return "".join(part if part[:1] == "`" else part.replace("<", "&lt;") for part in parts)


class CommandLine(SphinxDirective):
    """The whole reference, in place of the directive."""

    def run(self):
        """Return the sections of all commands."""
        return self.parse_text_to_nodes(markdown(), allow_section_headings=True) or [
            nodes.paragraph()
        ]


def setup(app):
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
