"""The password policy: which passwords are refused, and for what reason."""

import re
from functools import cache
from gzip import open as gzip_open
from pathlib import Path

from django.conf import settings
from django.contrib.auth import password_validation

from lib.errors import ProductError

MIN_LENGTH = 8
NIST_MIN_LENGTH = 15
MAX_LENGTH = 1024
#: From this length on a passphrase is strong without classes.
LONG = 15
SPECIAL = frozenset('@#$%^&+=!"£*-_{};:~|[]()/\\`')

MESSAGES = {
    "TOO_SHORT": "The password is too short.",
    "TOO_LONG": "The password is too long.",
    "NO_UPPERCASE": "The password needs an upper-case letter.",
    "NO_LOWERCASE": "The password needs a lower-case letter.",
    "NO_NUMBER": "The password needs a digit.",
    "NO_SPECIAL_CHAR": "The password needs a special character.",
    "TOO_COMMON": "The password is too common.",
    "CONTAINS_ADDRESS": "The password repeats the e-mail address or the product's name.",
}

_LEET = str.maketrans("@4301!$57", "aaeoiisst")


def check(password: str, *, email: str, code: str) -> None:
    """Raise ProductError(`code`, reason=R) with the first broken rule; every character counts, nothing is cut."""
    if reason := broken_rule(password, email=email):
        raise ProductError(code, MESSAGES[reason], reason=reason)


def broken_rule(password: str, *, email: str) -> str | None:
    """The first rule the password breaks, as a key of MESSAGES, or None."""
    shortest = NIST_MIN_LENGTH if settings.USERS_PASSWORD_POLICY == "nist" else MIN_LENGTH
    if len(password) < shortest:
        return "TOO_SHORT"
    if len(password) > MAX_LENGTH:
        return "TOO_LONG"
    needs_classes = settings.USERS_PASSWORD_POLICY == "seed+" and len(password) < LONG
    if needs_classes and (reason := _missing_class(password)):
        return reason
    if _is_common(password):
        return "TOO_COMMON"
    if _contains_address(password, email):
        return "CONTAINS_ADDRESS"
    return None


def _missing_class(password: str) -> str | None:
    if not any(character.isupper() for character in password):
        return "NO_UPPERCASE"
    if not any(character.islower() for character in password):
        return "NO_LOWERCASE"
    if not any(character.isdigit() for character in password):
        return "NO_NUMBER"
    if not SPECIAL.intersection(password):
        return "NO_SPECIAL_CHAR"
    return None


@cache
def _common() -> frozenset[str]:
    """The 20,000 most common passwords, as Django ships them."""
    path = Path(password_validation.__file__).parent / "common-passwords.txt.gz"
    with gzip_open(path, "rt", encoding="utf-8") as lines:
        return frozenset(line.strip() for line in lines)


def _is_common(password: str) -> bool:
    """As typed, and as people make a common word pass the classes: `Password1!` is `password`."""
    typed = password.lower()
    word = re.sub(r"[\W\d_]+$", "", typed)
    candidates = {typed, word, typed.translate(_LEET), word.translate(_LEET)}
    return bool(candidates & _common()) or len(set(typed)) <= 2


def _contains_address(password: str, email: str) -> bool:
    typed = password.lower()
    parts = (email.partition("@")[0].lower(), settings.PRODUCT_NAME.lower())
    return any(len(part) >= 4 and part in typed for part in parts)
