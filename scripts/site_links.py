"""A hook of MkDocs: links that leave ``docs/`` lead to the repository.

The pages are read on the code host too, where ``../LOG.md`` is right. On the site it would lead
nowhere.
"""

import posixpath
import re
from typing import Any

LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
"""A relative link of Markdown: its path and its anchor."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the page with such links made absolute; MkDocs calls this for each page."""
    folder = posixpath.dirname(page.file.src_uri)
    return linked_outside(markdown, folder, f"{config['repo_url'].rstrip('/')}/blob/main")


def linked_outside(markdown: str, folder: str, repository: str) -> str:
    """Return Markdown whose links out of ``docs/`` start with the repository's address.

    Args:
        markdown: The text of a page.
        folder: Its folder below ``docs/``.
        repository: The address of the repository's files.
    """

    def replaced(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[1]))
        if path.startswith("docs/") and path.endswith((".md", ".png")):
            return match[0]
        return f"]({repository}/{path}{match[2] or ''})"

    return LINK.sub(replaced, markdown)
