"""Documents as text: what is read, how it is cut, and one line for what cannot be read."""

from pathlib import Path

import pytest

from orcinus.core.errors import ConfigError, DataError, MissingExtraError, OrcinusError
from orcinus.tasks.authored.units import read_corpus
from orcinus.tasks.files.documents import find_documents, passages_of, read_document


def pdf_of(text: str) -> bytes:
    """Return a PDF of one page with one line."""
    drawn = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode()
    parts = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    made, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(made))
        made += b"%d 0 obj%b endobj\n" % (number, part)
    entries = b"".join(b"%010d 00000 n \n" % place for place in places)
    table = b"xref\n0 6\n0000000000 65535 f \n" + entries
    return made + table + b"trailer<</Root 1 0 R/Size 6>>\nstartxref\n%d\n%%%%EOF\n" % len(made)


HTML = (
    "<html><head><title>t</title><style>p {}</style></head><body><nav>Home</nav>"
    "<h1>Levers</h1><p>A lever <b>turns</b> on a pivot.</p><script>x()</script>"
    "<p>It saves\n force.</p><footer>imprint</footer></body></html>"
)


def test_text_and_markdown_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# Levers\n\nA lever turns.")
    assert read_document(tmp_path / "a.md") == "# Levers\n\nA lever turns."


def test_html_is_read_without_its_frame(tmp_path: Path) -> None:
    pytest.importorskip("bs4", reason="needs the extra documents")
    (tmp_path / "a.html").write_text(HTML, encoding="utf-8")
    text = read_document(tmp_path / "a.html")
    assert text == "Levers\n\nA lever turns on a pivot.\n\nIt saves force."


def test_pdf_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra documents")
    (tmp_path / "a.pdf").write_bytes(pdf_of("A lever turns on a pivot."))
    assert read_document(tmp_path / "a.pdf") == "A lever turns on a pivot."


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"caf\xe9", r"a\.txt: not UTF-8 at byte 3; save it as UTF-8"),
        ("a.txt", b"\xff\xfea\0", r"a\.txt: UTF-16; save it as UTF-8"),
        ("a.md", b"PK\x03\x04\0\0", r"a\.md: holds bytes that are no text"),
        ("a.txt", b" \n\n", r"a\.txt: holds no text"),
        ("a.pdf", b"%PDF-1.4 and no more", r"a\.pdf: (cannot be read as PDF|reading PDF needs)"),
        ("a.pdf", b"no PDF at all", r"a\.pdf: (cannot be read as PDF|reading PDF needs)"),
        ("a.html", b"<p> </p>", r"a\.html: (holds no text|reading HTML needs)"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, MissingExtraError), match=said) as caught:
        read_corpus(str(tmp_path), tmp_path)
    assert "\n" not in str(caught.value)


def test_documents_are_found_in_subfolders(tmp_path: Path) -> None:
    (tmp_path / "docs/part").mkdir(parents=True)
    for name in ("docs/b.md", "docs/part/a.txt", "docs/picture.png"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    assert [name for name, _ in find_documents("docs", tmp_path)] == [
        "docs/b.md",
        "docs/part/a.txt",
    ]
    assert [name for name, _ in find_documents("docs/*.md", tmp_path)] == ["docs/b.md"]
    for given, said in (
        ("none", "there is no such document"),
        ("docs/picture.png", "no document that can be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            find_documents(given, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OrcinusError, match="no document in it"):
        find_documents("empty", tmp_path)


def test_passages_are_cut_between_paragraphs_and_then_sentences() -> None:
    assert passages_of("aa\n\nbb\n\ncc", longest=6) == ["aa\n\nbb"]  # cc alone is too short
    long = "One two. " * 100
    cut = passages_of(long + "\n\n" + "x" * 250, longest=300)
    assert all(len(passage) <= 300 for passage in cut)
    assert all(passage.endswith((".", "x")) for passage in cut)
    assert "".join(" ".join(cut).split()) == "".join(f"{long}{'x' * 250}".split())


def test_passages_of_a_document_share_its_name(tmp_path: Path) -> None:
    text = "\n\n".join("word " * 400 for _ in range(3))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    units = read_corpus("a.txt", tmp_path)
    assert len(units) == 3
    assert {unit.name for unit in units} == {"a.txt"}
