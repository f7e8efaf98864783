"""What the documentation's site does to its pages: mkdocs calls it, see mkdocs.yml."""

import re


def on_page_markdown(markdown: str, **_) -> str:
    """A page whose links to files outside `docs/`, which the site does not have, are the files' names."""
    return re.sub(r"\[([^\]]*)\]\(\.\./([^)]+)\)", r"\1 (`\2`)", markdown)
