"""Check a built site without a network: every link and picture of its own leads somewhere.

    python docs/check_links.py docs/_build/html

prints what does not, a line each, and exits with 1 if anything does not.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What one page links to, and the places in it that can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {"", "top"}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        """Note links and anchors of a tag."""
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        for key in ("href", "src", "data"):
            if found.get(key):
                self.links.add(found[key])


def main(folder):
    """Print all faults of the site in `folder` and return the exit status."""
    pages = {path.resolve(): Page(path) for path in Path(folder).rglob("*.html")}
    faults = [
        f"{path.relative_to(Path(folder).resolve())} links to {link}, which is not there"
        for path, page in sorted(pages.items())
        for link in sorted(page.links)
        if not _leads_somewhere(path, link, pages)
    ]
    for fault in faults:
        print(fault)
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links")
    return bool(faults) or not pages


def _leads_somewhere(path, link, pages):
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme in ("https", "http", "mailto", "data")
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target in pages:
        return unquote(parts.fragment) in pages[target].anchors
    return target.is_file()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
