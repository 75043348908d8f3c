"""Pages that stand elsewhere in the repository: `{repository-page} CHANGELOG.md` shows one here.

Links keep working in both places: one to such a file leads to its page of the site.
"""

import os
import re
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]

#: Files of the repository, and the pages of the site that show them.
PAGES = {
    "README.md": "docs/index.md",
    "CHANGELOG.md": "docs/changes.md",
    "CONTRIBUTING.md": "docs/contributing.md",
    "SECURITY.md": "docs/explanation/security.md",
    "benchmarks/README.md": "docs/results.md",
}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def relinked(text, source, page):
    """Return `text` of the file `source` with links as `page` has to have them."""

    def relink(match):
        path = os.path.normpath(os.path.join(os.path.dirname(source), match[1]))
        return os.path.relpath(PAGES.get(path, path), os.path.dirname(page))

    return _LINK.sub(relink, text)


class RepositoryPage(SphinxDirective):
    """A file of the repository without its first heading, in place of the directive."""

    required_arguments = 1

    def run(self):
        """Return the file's sections."""
        (name,) = self.arguments
        self.env.note_dependency(str(ROOT / name))
        text = (ROOT / name).read_text("utf-8").partition("\n")[2]
        text = relinked(text, name, f"docs/{self.env.docname}.md")
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def relink_page(app, docname, source):
    """Relink a page of the site, in place."""
    if app.env.doc2path(docname).suffix == ".md":
        name = f"docs/{docname}.md"
        source[0] = relinked(source[0], name, name)


def setup(app):
    """Register the directive, and what is done to every page."""
    app.add_directive("repository-page", RepositoryPage)
    app.connect("source-read", relink_page)
    return {"parallel_read_safe": True}
