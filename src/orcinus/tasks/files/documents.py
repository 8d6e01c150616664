r"""Read documents as text, and cut them into passages: text, Markdown, HTML and PDF.

    find_documents("docs", base)     →  [("docs/guide.md", …), ("docs/manual.pdf", …)]
    read_document(…/guide.md)        →  "# Guide\n\nFirst, …"
    passages_of("# Guide\n\n…")      →  passages of at most 3,000 characters, cut between paragraphs

HTML and PDF are read by Beautiful Soup and pypdf (extra ``documents``).
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from glob import glob, has_magic
from importlib.util import find_spec
from pathlib import Path

from orcinus.core.errors import ConfigError, DataError, MissingExtraError, one_line

PASSAGE = 3_000
"""Characters of a passage at most: about 700 tokens, a page of a book."""
SHORTEST = 200
"""Characters. A shorter last passage is left out: a few words ask nothing."""
_TEXT = (".txt", ".text", ".md", ".markdown", ".rst")
_HTML = (".html", ".htm", ".xhtml")
_PDF = (".pdf",)
ENDINGS = (*_TEXT, *_HTML, *_PDF)
"""Endings of the documents that can be read."""
_UNSEEN = ("head", "script", "style", "noscript", "template", "nav", "header", "footer", "form")
"""HTML elements that hold no text of the document itself."""
_BLOCKS = (
    "p", "div", "section", "article", "li", "tr", "pre", "blockquote", "br", "table", "dt", "dd",
    "h1", "h2", "h3", "h4", "h5", "h6",
)  # fmt: skip
"""HTML elements after which a new paragraph begins."""


def find_documents(given: str, base: Path) -> list[tuple[str, Path]]:
    """Return the documents that ``given`` names, each with its name relative to ``base``.

    Args:
        given: A file, a folder (searched with its subfolders) or a glob.
        base: Where a relative path starts.

    Raises:
        ConfigError: There is no such document, or a file named on its own has an unknown ending.
    """
    full = base / Path(given).expanduser()
    if full.is_dir():
        found = [path for path in sorted(full.rglob("*")) if path.suffix.lower() in ENDINGS]
    elif full.is_file():
        if full.suffix.lower() not in ENDINGS:
            raise ConfigError(f"{full}: no document that can be read; known: {', '.join(ENDINGS)}")
        found = [full]
    else:
        matched = sorted(glob(str(full), recursive=True)) if has_magic(str(full)) else []
        found = [Path(path) for path in matched if Path(path).suffix.lower() in ENDINGS]
    found = [path for path in found if path.is_file()]
    if not found:
        what = "no document in it" if full.is_dir() else "there is no such document"
        raise ConfigError(f"{full}: {what}; documents end in {', '.join(ENDINGS)}")
    return [(_name_of(path, base), path) for path in found]


def _name_of(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def read_document(path: Path) -> str:
    """Return the text of a document.

    Raises:
        DataError: It cannot be read, is locked by a password, or holds no text.
        MissingExtraError: Its format needs a reader that is not installed.
    """
    ending = path.suffix.lower()
    read = next(read for endings, read in _READERS.items() if ending in endings)
    try:
        text = read(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not text.strip():
        hint = "; a scanned PDF needs text recognition first" if ending in _PDF else ""
        raise DataError(f"{path}: holds no text{hint}")
    return text


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{path}: holds bytes that are no text; is its ending right?")
    return text


def _read_html(path: Path) -> str:
    if find_spec("bs4") is None:
        raise MissingExtraError(f"{path}: reading HTML", "documents")
    from bs4 import BeautifulSoup

    page = BeautifulSoup(path.read_bytes(), "html.parser")
    for element in page.find_all(_UNSEEN):
        element.decompose()
    for string in page.find_all(string=True):
        if string.find_parent("pre") is None:
            string.replace_with(re.sub(r"\s+", " ", string))
    for element in page.find_all(_BLOCKS):
        element.append("\n\n")
    return _with_paragraphs(page.get_text())


def _read_pdf(path: Path) -> str:
    if find_spec("pypdf") is None:
        raise MissingExtraError(f"{path}: reading PDF", "documents")
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs what it then raises
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(f"{path}: locked by a password; save it without one")
        pages = [page.extract_text() for page in reader.pages]
    except (DataError, OSError):
        raise
    except Exception as error:  # pypdf raises whatever a damaged file makes of its code
        said = one_line(str(error), 200) or type(error).__name__
        raise DataError(f"{path}: cannot be read as PDF: {said}") from error
    return _with_paragraphs("\n\n".join(pages))


_READERS: Mapping[tuple[str, ...], Callable[[Path], str]] = {
    _TEXT: _read_text,
    _HTML: _read_html,
    _PDF: _read_pdf,
}
"""The readers by the endings of their documents."""


def _with_paragraphs(text: str) -> str:
    """Return ``text`` without blanks at the ends of lines, its paragraphs apart by one line."""
    lines = "\n".join(" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def passages_of(text: str, longest: int = PASSAGE) -> list[str]:
    """Cut a text into passages of at most ``longest`` characters, between paragraphs if it can.

    Args:
        text: The whole text.
        longest: Characters of a passage at most.
    """
    passages: list[str] = []
    for paragraph in _paragraphs(text, longest):
        joined = f"{passages[-1]}\n\n{paragraph}" if passages else ""
        if passages and len(joined) <= longest:
            passages[-1] = joined
        else:
            passages.append(paragraph)
    if len(passages) > 1 and len(passages[-1]) < SHORTEST:
        passages.pop()  # the few words after the last full passage
    return passages


def _paragraphs(text: str, longest: int) -> Iterator[str]:
    """Yield the paragraphs; one that is too long is cut between sentences, or else anywhere."""
    for paragraph in re.split(r"\n\s*\n", text):
        left = paragraph.strip()
        while len(left) > longest:
            end = max(left.rfind(mark, 0, longest) for mark in (". ", "! ", "? ", "\n")) + 1
            end = end or left.rfind(" ", 0, longest) + 1 or longest
            yield left[:end].strip()
            left = left[end:].strip()
        if left:
            yield left
