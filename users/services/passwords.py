"""The password policy: which passwords are refused, and for what reason. What is checked is
what is hashed: what was typed, in NFC, with its spaces and its letter case, to the last character."""

import re
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from lib.errors import ProductError
from users.hashers import one_spelling
from users.services import guesses

MIN_LENGTH = 8
NIST_MIN_LENGTH = 15
MAX_LENGTH = 1024
#: From this length on a passphrase needs no classes.
LONG = guesses.LONG
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

#: Labels of domains that say nothing about whose address it is.
_NO_NAMES = frozenset({"mail", "email", "webmail", "info"})


def check(password: str, *, email: str, code: str, has_factor: bool = False) -> None:
    """Raise ProductError(`code`, reason=R) with the first broken rule; every character counts, nothing is cut."""
    if reason := broken_rule(password, email=email, has_factor=has_factor):
        raise ProductError(code, MESSAGES[reason], reason=reason)


def broken_rule(password: str, *, email: str, has_factor: bool = False) -> str | None:
    """The first rule the password breaks, as a key of MESSAGES, or None.

    `has_factor`: a second factor stands beside the password, so that NIST SP 800-63B-4 asks for 8 characters only.
    """
    password = one_spelling(password)
    is_nist = settings.USERS_PASSWORD_POLICY == "nist"
    if len(password) < (NIST_MIN_LENGTH if is_nist and not has_factor else MIN_LENGTH):
        return "TOO_SHORT"
    if len(password) > MAX_LENGTH:
        return "TOO_LONG"
    if not is_nist and len(password) < LONG and (reason := _missing_class(password)):
        return reason
    if guesses.is_guessed_soon(password):
        return "TOO_COMMON"
    if _contains_address(password, email):
        return "CONTAINS_ADDRESS"
    return None


def help_text() -> str:
    """The rules in words, for whoever is about to choose a password."""
    refused = "Common passwords, and names in your address or of this product, are refused."
    if settings.USERS_PASSWORD_POLICY == "nist":
        return f"At least {NIST_MIN_LENGTH} characters of any kind, such as several words. {refused}"
    return (
        f"Best at least {LONG} characters of any kind, such as several words. From {MIN_LENGTH} on with an upper-case "
        "and a lower-case letter, a digit and a special character; current advice is against such rules, they stand "
        f"for older clients. {refused}"
    )


class PolicyValidator:
    """The policy for Django's own forms and commands, `createsuperuser` among them."""

    def validate(self, password: str, user: Any = None) -> None:
        if reason := broken_rule(password, email=getattr(user, "email", None) or ""):
            raise ValidationError(MESSAGES[reason], code=reason.lower())

    def get_help_text(self) -> str:
        return help_text()


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
    """Whether a name of the address or the product stands in the password, whatever its case and its leet."""
    readings = guesses.readings(password)
    # Where lower case meets upper case a word begins, as in `myNavy`.
    spaced = guesses.readings(re.sub(r"(?<=[^\W\d_])(?=[A-Z])", " ", password)) | readings
    long, short = _names(email)
    return any(name in reading for name in long for reading in readings) or any(
        re.search(rf"(?<![^\W\d_]){re.escape(name)}(?![^\W\d_])", reading) for name in short for reading in spaced
    )


def _names(email: str) -> tuple[set[str], set[str]]:
    """What may not stand anywhere in the password, and what may not be a word of it.

    The local part and the product's name as a whole, and the words of the local part and of the domain (its last label
    aside), if they have 4 or more letters; a word of 4 letters stands in many others by chance.
    """
    local, _, domain = email.rpartition("@")
    local_words = re.findall(r"[^\W\d_]+", local)
    domain_words = re.findall(r"[^\W\d_]+", domain.rpartition(".")[0])
    product = settings.PRODUCT_NAME
    whole = {local, local.partition("+")[0], "".join(local_words), product, "".join(product.split())}
    words = {word for word in (*local_words, *domain_words) if word.lower() not in _NO_NAMES}
    long = {word for word in words if len(word) > 4} | {name for name in whole if sum(map(str.isalpha, name)) >= 4}
    short = {word for word in words if len(word) == 4}
    return _readings_of(long), _readings_of(short)


def _readings_of(names: set[str]) -> set[str]:
    return {reading for name in names for reading in guesses.readings(name)}
