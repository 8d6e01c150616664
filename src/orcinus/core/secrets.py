"""Keep the keys of paid models out of everything that is written or shown.

    remember("sk-live-1234");  scrub("bad key: sk%2Dlive%2D1234")  →  "bad key: [secret]"

A server may repeat the key that it refuses, in any encoding, and errors are written to the ledger.
So replies are scrubbed where they arrive, and files and lines where they are written.
"""

import base64
import html
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote

MIN_SECRET = 8
"""Characters. Shorter secrets occur in texts by chance; replacing them would garble every text."""
MARK = "[secret]"
"""Stands where a secret stood."""
MANY_DIGITS = 4
"""Digits. ``AZURE_OPENAI_KEY_2`` has one; a hexadecimal key of 32 has some twenty."""
SHORTEST_KEY = 16
"""Characters. Keys of providers have 20 to 160."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEY = re.compile(r"sk[-_]|gsk_|hf_|xai-|AIza|AKIA|ghp_|pk[-_]|nvapi-|Bearer ")
"""How the keys of well-known providers start."""
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@:\"'<>]*:[^\s/@\"'<>]+@")
"""A name and a password in a URL."""
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
_BACKSLASHES = 8
"""Backslashes before an escaped character, at most: text that is quoted three times has seven."""
_secrets: set[str] = set()
"""The secrets of this process."""


def remember(secret: str) -> None:
    """Scrub ``secret`` from now on, unless it is too short to tell from other text."""
    if len(secret) >= MIN_SECRET:
        _add(secret)


def _add(secret: str) -> None:
    if secret not in _secrets:
        _secrets.add(secret)
        for made in (_literals, _literal_bytes, _escapes, _pattern):
            made.cache_clear()


def remember_header(name: str, value: str) -> None:
    """Scrub the value of a header that usually holds a key, e.g. ``authorization``.

    A number or a word is no key: scrubbing ``application`` would garble other texts.
    """
    last = value.split()[-1] if value.split() else ""
    is_word = last.isdigit() or (last.isalpha() and last.islower())
    if _SECRET_HEADER.search(name) and not is_word:
        remember(last)


def remember_url(url: str) -> None:
    """Scrub the name and password of a URL that holds them."""
    for match in _URL_LOGIN.finditer(url):
        login = match[0]
        remember(login.partition(":")[2][:-1])
        remember(login[:-1])
        # As it stands in the URL, so that a short one is found too and the URL stays one.
        _add(f"://{login}")


def looks_like_key(name: str) -> bool:
    """Return True when the name of an environment variable looks like a pasted key.

    Names are words of one case (``OPENAI_API_KEY``). Keys mix cases or digits, or hold marks.
    """
    digits = sum(character.isdigit() for character in name)
    mixed = name not in (name.upper(), name.lower()) or digits >= MANY_DIGITS
    return (
        not _VARIABLE.fullmatch(name)
        or _KEY.match(name) is not None
        or (len(name) >= SHORTEST_KEY and mixed)
    )


def shown_name(variable: str) -> str:
    """Return the name of an environment variable for a message, unless it may be a pasted key."""
    return "(not shown: it looks like a key)" if looks_like_key(variable) else variable


def scrub(text: str) -> str:
    """Return ``text`` without any secret, plain, quoted, escaped, URL-encoded, hex or base64."""
    if not _secrets or not (
        any(literal in text for literal in _literals()) or _escapes()[0].search(text)
    ):
        return text
    return _pattern().sub(lambda match: "://" if match["url"] else MARK, text)


def scrub_bytes(content: bytes) -> bytes:
    """Return ``content`` without any secret; see ``scrub``."""
    if not _secrets or not (
        any(literal in content for literal in _literal_bytes()) or _escapes()[1].search(content)
    ):
        return content
    return scrub(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1)
def _literals() -> tuple[str, ...]:
    """Return the secrets in the forms that escape no single character."""
    return tuple(form for secret in _secrets for form in (secret, *_encoded_whole(secret)))


@lru_cache(maxsize=1)
def _literal_bytes() -> tuple[bytes, ...]:
    return tuple(literal.encode() for literal in _literals())


@lru_cache(maxsize=1)
def _escapes() -> tuple[re.Pattern[str], re.Pattern[bytes]]:
    """Return what an escaped character of a secret begins with, for texts and for bytes.

    Where it is not, no secret is escaped. Only what stands for a character of a secret counts: JSON
    is full of quotes and line breaks, and the whole pattern takes 100 times as long.
    """
    characters = sorted(set("".join(_secrets)))
    codes = "|".join(f"{ord(character):04x}" for character in characters)
    hexes = "|".join(sorted({f"{byte:02x}" for byte in "".join(characters).encode()}))
    marks = "".join(re.escape(character) for character in characters if not character.isalnum())
    forms = [rf"\\u(?i:{codes})", f"%(?i:{hexes})", "&#"]
    forms += [re.escape(html.escape(character)) for character in '&<>"' if character in characters]
    forms += [rf"\\[{marks}]"] if marks else []
    pattern = "|".join(forms)
    return re.compile(pattern), re.compile(pattern.encode())


def _encoded_whole(secret: str) -> Iterator[str]:
    """Yield the hex and base64 forms, also those inside a longer encoded text."""
    content = secret.encode()
    yield content.hex()
    yield content.hex().upper()
    for offset, skipped in ((0, 0), (1, 2), (2, 3)):
        coded = base64.b64encode(bytes(offset) + content).decode()
        whole = (offset + len(content)) * 8 // 6  # characters that depend on the secret alone
        yield coded[skipped:whole]
        yield coded[skipped:whole].replace("+", "-").replace("/", "_")


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """Return what matches any secret, with each of its characters plain or escaped."""
    logins = [secret for secret in _secrets if secret.startswith("://")]
    others = [secret for secret in _secrets if not secret.startswith("://")]
    forms = [
        "".join(map(_any_form, secret)) for secret in sorted(others, key=len, reverse=True)
    ] + [re.escape(form) for secret in _secrets for form in _encoded_whole(secret)]
    urls = "|".join("".join(map(_any_form, login)) for login in logins) or r"(?!)"
    return re.compile(f"(?P<url>{urls})|{'|'.join(forms) or r'(?!)'}")


def _any_form(character: str) -> str:
    """Return a pattern for one character, plain or as JSON, URLs, HTML and quotes escape it."""
    code = ord(character)
    # Bounded: with a star, a long run of backslashes would be read anew from each of its places.
    forms = [
        rf"\\{{0,{_BACKSLASHES}}}" + re.escape(character),
        rf"\\{{1,{_BACKSLASHES}}}u(?i:{code:04x})",
        f"(?i:{re.escape(''.join(f'%{byte:02X}' for byte in character.encode()))})",
        rf"&#0*{code};",
        rf"&#(?i:x0*{code:x});",
    ]
    for other in (html.escape(character), quote(character)):
        if other != character:
            forms.append(re.escape(other))
    return f"(?:{'|'.join(forms)})"
