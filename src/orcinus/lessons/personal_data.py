"""Count personal data in a text by kind, without repeating the data.

    personal_data("Write to jane.roe@mail.net or call +49 30 1234567.")
    →  "personal data: 1 e-mail address, 1 phone number"

Only data with a recognizable form are found: e-mail addresses, international and North American
phone numbers, payment cards (Luhn's check digit), IBANs (ISO 13616, mod 97), public IP addresses.
Names and postal addresses would need a model. Addresses and numbers reserved for examples (RFC
2606, 555-01xx, RFC 5737), and placeholders such as ``you@…``, belong to no person and do not count.
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}\b", re.IGNORECASE
)
_PLACEHOLDER = re.compile(
    r"\A(?:your?|user|sender|receiver|recipient|someone|somebody|example|test|name|email"
    r"|(?:john|jane)[._]?doe|from|to)(?:[\w.+-]*)@"
    r"|(?:@|\.)(?:example(?:\.(?:com|net|org|edu))?|\w+\.(?:test|invalid|localhost)"
    r"|(?:your|my)?(?:domain|company|email)\.com)\Z",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4})(?![\w/-]|\.\d)"
)
_CARD = re.compile(r"(?<![\w.,-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\w-]|[.,]\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_IP = re.compile(r"(?<![\w.-])(?<!version )(?<!release )\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")


def personal_data(text: str) -> str | None:
    """Say which kinds of personal data ``text`` holds, and how many of each; None without any."""
    kinds = _KINDS if "@" in text else _KINDS[1:]
    counts = {name: sum(map(holds, set(pattern.findall(text)))) for name, pattern, holds in kinds}
    found = [
        f"{number} {name}{'es' if name.endswith('s') else 's'}" if number > 1 else f"1 {name}"
        for name, number in counts.items()
        if number
    ]
    return f"personal data: {', '.join(found)}" if found else None


def _is_address(found: str) -> bool:
    return _PLACEHOLDER.search(found) is None


def _is_phone(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    # 555-0100 to 555-0199 are reserved for fiction; 123-456-7890 and the like are placeholders.
    return (
        9 <= len(digits) <= 15
        and digits[-7:-4] != "555"
        and "1234567" not in digits
        and len(set(digits[-7:])) > 2
    )


def _is_card(found: str) -> bool:
    """Check Luhn's digit (ISO/IEC 7812), and that more than two digits differ."""
    digits = [int(character) for character in found if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (
        13 <= len(digits) <= 19
        and len(set(digits)) > 2
        and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    )


def _is_iban(found: str) -> bool:
    code = found.replace(" ", "")
    return (
        15 <= len(code) <= 34
        and int("".join(str(int(letter, 36)) for letter in code[4:] + code[:4])) % 97 == 1
    )


def _is_public(found: str) -> bool:
    try:
        return IPv4Address(found).is_global
    except AddressValueError:
        return False


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e-mail address", _EMAIL, _is_address),
    ("phone number", _PHONE, _is_phone),
    ("payment card", _CARD, _is_card),
    ("IBAN", _IBAN, _is_iban),
    ("IP address", _IP, _is_public),
)
