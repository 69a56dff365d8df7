"""The password policy: which passwords are refused, and for what reason."""

import re

from django.conf import settings

from lib.errors import ProductError
from users.services import guessable

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

#: Letters from which on a piece of the address is one.
_PART = 4


def check(password: str, *, email: str, code: str, has_factor: bool = False) -> None:
    """Raise ProductError(`code`, reason=R) with the first broken rule; every character counts, nothing is cut."""
    if reason := broken_rule(password, email=email, has_factor=has_factor):
        raise ProductError(code, MESSAGES[reason], reason=reason)


def broken_rule(password: str, *, email: str, has_factor: bool = False) -> str | None:
    """The first rule the password breaks, as a key of MESSAGES, or None.

    `nist` asks for 15 characters, for 8 of a person with a second factor (NIST SP 800-63B-4, 3.1.1.2).
    """
    is_alone = settings.USERS_PASSWORD_POLICY == "nist" and not has_factor
    shortest = NIST_MIN_LENGTH if is_alone else MIN_LENGTH
    if len(password) < shortest:
        return "TOO_SHORT"
    if len(password) > MAX_LENGTH:
        return "TOO_LONG"
    needs_classes = settings.USERS_PASSWORD_POLICY == "seed+" and len(password) < LONG
    if needs_classes and (reason := _missing_class(password)):
        return reason
    if guessable.is_guessable(password):
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


def _contains_address(password: str, email: str) -> bool:
    """Whether it repeats the product's name or the address: all of its local part, or a piece of it of four letters."""
    local, _, domain = email.lower().partition("@")
    pieces = {local, *re.split(r"[\W\d_]+", local), *domain.split(".")[-2:-1], settings.PRODUCT_NAME.lower()}
    parts = {part for part in pieces if len(part) >= _PART}
    return any(part in typed for typed in guessable.words_of(password) for part in parts)
