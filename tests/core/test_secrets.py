"""A secret is found in every form that servers and formats give it."""

import base64
import html
import json
import re
import shlex
import time
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote

import pytest

from orcinus.core import secrets
from orcinus.core.secrets import remember, remember_header, remember_url, scrub, scrub_bytes

KEY = "sk-live/7Qx+\"9'é=Zk"


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def forget() -> None:
        for made in (
            secrets._literals,
            secrets._literal_bytes,
            secrets._escapes,
            secrets._pattern,
        ):
            made.cache_clear()

    monkeypatch.setattr(secrets, "_secrets", set())
    forget()
    yield
    forget()


FORMS = {
    "plain": KEY,
    "json": json.dumps(KEY)[1:-1],
    "json in json": json.dumps(json.dumps(KEY))[3:-3],
    "json, slash escaped": json.dumps(KEY)[1:-1].replace("/", "\\/"),
    "json, all escaped": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "json, one escaped": "\\u0073" + json.dumps(KEY)[2:-1],
    "repr": repr(KEY)[1:-1],
    "shell": shlex.quote(KEY)[1:-1].replace("'\"'\"'", "'"),
    "url": quote(KEY, safe=""),
    "url, path": quote(KEY),
    "url, small hex": re.sub("%..", lambda match: match[0].lower(), quote(KEY, safe="")),
    "html": html.escape(KEY),
    "hex": KEY.encode().hex(),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "basic": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "bearer": base64.b64encode(f"Bearer {KEY}!".encode()).decode(),
    "base64, url": base64.urlsafe_b64encode(KEY.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_key_is_left(form: str) -> None:
    remember(KEY)
    said = scrub(f"you sent {FORMS[form]} here")
    assert said.startswith("you sent ")
    assert said.endswith(" here")
    assert "[secret]" in said
    pieces = [FORMS[form][i : i + 12] for i in range(len(FORMS[form]) - 11)]
    assert not [piece for piece in pieces if piece in said]
    assert scrub_bytes(f"you sent {FORMS[form]} here".encode()) == said.encode()


PLAIN_KEY = "sk-proj_7Qx9mZkA2bC4dE6f"
ESCAPED = {
    "one character, json": "\\u0073" + PLAIN_KEY[1:],
    "one character, json in json": "\\\\u0073" + PLAIN_KEY[1:],
    "all, json": "".join(f"\\u{ord(c):04X}" for c in PLAIN_KEY),
    "all, url": "".join(f"%{ord(c):02x}" for c in PLAIN_KEY),
    "dash, url": PLAIN_KEY.replace("-", "%2D"),
    "dash, pattern": re.escape(PLAIN_KEY),
    "line, TeX": PLAIN_KEY.replace("_", "\\_"),
    "all, html": "".join(f"&#{ord(c)};" for c in PLAIN_KEY),
    "dash, html": PLAIN_KEY.replace("-", "&#x2d;"),
}


@pytest.mark.parametrize("form", ESCAPED)
def test_a_key_of_letters_digits_and_dashes_is_found_in_every_form(form: str) -> None:
    remember(PLAIN_KEY)
    for said in (ESCAPED[form], json.dumps(f'a "quoted" {ESCAPED[form]}\n')):
        assert "mZkA2bC4" not in scrub(said)
        assert "[secret]" in scrub(said)
        assert scrub_bytes(said.encode()) == scrub(said).encode()


def test_a_usual_reply_does_not_need_the_whole_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(PLAIN_KEY)

    @lru_cache
    def refuse() -> None:
        raise AssertionError("the whole pattern is made")

    monkeypatch.setattr(secrets, "_pattern", refuse)
    said = 'He said "yes", 100% & more:\n\\frac{1}{2} <b>é</b> `%d`'
    body = json.dumps({"content": said})
    assert scrub(said) == said
    assert scrub_bytes(body.encode()) == body.encode()


def test_other_text_stays_as_it_is() -> None:
    remember(KEY)
    remember("short")
    text = 'short: 50%25 of \\u0041 &amp; "x" \\"y\\" é'
    assert scrub(text) == text
    assert scrub_bytes(b"\xff%20\\u0041") == b"\xff%20\\u0041"


def test_a_login_leaves_the_url_that_held_it() -> None:
    remember_url("https://me:pw@host:8000/v1")
    assert (
        scrub("base_urls: ['https://me:pw@host:8000/v1']") == "base_urls: ['https://host:8000/v1']"
    )
    assert scrub("the pw of me") == "the pw of me"


def test_a_key_written_as_a_header_is_a_secret() -> None:
    remember_header("Authorization", f"Bearer {KEY}")
    remember_header("x-title", "orcinus, a tool")
    remember_header("x-auth-kind", "application")
    remember_header("x-token-limit", "100000000")
    text = "of orcinus, a tool, an application with 100000000"
    assert scrub(f"{KEY} {text}") == f"[secret] {text}"


def test_a_long_run_of_backslashes_is_scrubbed_in_linear_time() -> None:
    remember("sk-live-backslash-1")
    times = []
    for size in (50_000, 200_000):
        started = time.process_time()
        assert scrub("\\" * size) == "\\" * size
        times.append(time.process_time() - started)
    assert times[1] < 12 * max(times[0], 0.05)  # four times the text; quadratic would be 16
