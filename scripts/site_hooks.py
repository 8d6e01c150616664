"""Hooks of MkDocs: whole folders in the navigation, and links that leave ``docs/``.

The pages are read on the code host too, where ``../LOG.md`` is right. On the site it would lead
nowhere, so it leads to the repository.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
"""A relative link of Markdown: its path and its anchor."""


def on_config(config: Any) -> Any:
    """Put the pages of folders into the navigation; MkDocs calls this once."""
    config["nav"] = with_folders(config["nav"], Path(config["docs_dir"]))
    return config


def with_folders(navigation: list[dict[str, Any]], docs: Path) -> list[dict[str, Any]]:
    """Return a navigation in which the pages of a folder stand in place of ``folder/``."""

    def expanded(entry: Any) -> Any:
        if isinstance(entry, list):
            return with_folders(entry, docs)
        if entry.endswith("/"):
            return sorted(path.relative_to(docs).as_posix() for path in (docs / entry).glob("*.md"))
        return entry

    return [{title: expanded(entry) for title, entry in part.items()} for part in navigation]


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


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Return the page without the theme's question to the code host; MkDocs calls this last.

    The theme would ask the host for the repository's stars. A page fetches nothing.
    """
    return output.replace('data-md-component="source"', "")
