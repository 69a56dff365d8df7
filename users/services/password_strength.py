"""The password policy: which passwords are refused, and for what reason. What is checked is
what is hashed: what was typed, in NFC, with its spaces and its letter case, to the last character."""

import re
from collections.abc import Callable
from functools import cache
from gzip import open as gzip_open
from math import log10
from pathlib import Path
from typing import Any
from unicodedata import normalize

from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from lib.errors import ProductError
from users.services.hashing import one_spelling

MIN_LENGTH = 8
NIST_MIN_LENGTH = 15
MAX_LENGTH = 1024
SPECIAL = frozenset('@#$%^&+=!"£*-_{};:~|[]()/\\`')

MESSAGES = {
    "TOO_SHORT": gettext_noop("The password is too short."),
    "TOO_LONG": gettext_noop("The password is too long."),
    "NO_UPPERCASE": gettext_noop("The password needs an upper-case letter."),
    "NO_LOWERCASE": gettext_noop("The password needs a lower-case letter."),
    "NO_NUMBER": gettext_noop("The password needs a digit."),
    "NO_SPECIAL_CHAR": gettext_noop("The password needs a special character."),
    "TOO_COMMON": gettext_noop("The password is too common."),
    "CONTAINS_ADDRESS": gettext_noop("The password repeats the e-mail address or the product's name."),
}

#: What a short password has to hold, by the reason for refusing one without.
_CLASSES: dict[str, Callable[[str], bool]] = {
    "NO_UPPERCASE": str.isupper,
    "NO_LOWERCASE": str.islower,
    "NO_NUMBER": str.isdigit,
    "NO_SPECIAL_CHAR": SPECIAL.__contains__,
}
#: Labels of domains that say nothing about whose address it is.
_NO_NAMES = frozenset({"mail", "email", "webmail", "info"})


def check(password: str, *, email: str, code: str, has_factor: bool = False) -> None:
    """Raise ProductError(`code`, reason=R) with the first broken rule; every character counts, nothing is cut."""
    if reason := broken_rule(password, email=email, has_factor=has_factor):
        raise ProductError(code, _(MESSAGES[reason]), reason=reason)


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
    if not is_nist and len(password) < LONG:
        for reason, is_wanted in _CLASSES.items():
            if not any(map(is_wanted, password)):
                return reason
    if is_guessable(password):
        return "TOO_COMMON"
    if _contains_address(password, email):
        return "CONTAINS_ADDRESS"
    return None


def help_text() -> str:
    """The rules as a sentence for forms."""
    refused = _("Common passwords, and names in your address or of this product, are refused.")
    if settings.USERS_PASSWORD_POLICY == "nist":
        asked = _("At least %(count)d characters of any kind, such as several words.") % {"count": NIST_MIN_LENGTH}
        return f"{asked} {refused}"
    asked = _(
        "Best at least %(long)d characters of any kind, such as several words. From %(least)d on with an upper-case "
        "and a lower-case letter, a digit and a special character; current advice is against such rules, they stand "
        "for older clients."
    )
    return f"{asked % {'long': LONG, 'least': MIN_LENGTH}} {refused}"


class PolicyValidator:
    """The policy for Django's own forms and commands, `createsuperuser` among them."""

    def validate(self, password: str, user: Any = None) -> None:
        if reason := broken_rule(password, email=getattr(user, "email", None) or ""):
            raise ValidationError(_(MESSAGES[reason]), code=reason.lower())

    def get_help_text(self) -> str:
        return help_text()


def _contains_address(password: str, email: str) -> bool:
    """Whether a name of the address or the product stands in the password, whatever its case and its leet.

    The local part and the product's name as a whole, and the words of the local part and of the domain (its last label
    aside), if they have 4 or more letters; a word of 4 letters stands in many others by chance, and counts as a word.
    """
    local, _, domain = email.rpartition("@")
    local_words = re.findall(r"[^\W\d_]+", local)
    domain_words = re.findall(r"[^\W\d_]+", domain.rpartition(".")[0])
    product = settings.PRODUCT_NAME
    whole = {local, local.partition("+")[0], "".join(local_words), product, "".join(product.split())}
    words = {word for word in (*local_words, *domain_words) if word.lower() not in _NO_NAMES}
    long = {word for word in words if len(word) > 4} | {name for name in whole if sum(map(str.isalpha, name)) >= 4}
    readings = leet_forms(password)
    if any(name in reading for name in set().union(*map(leet_forms, long)) for reading in readings):
        return True
    # Where lower case meets upper case a word begins, as in `myNavy`.
    spaced = leet_forms(re.sub(r"(?<=[^\W\d_])(?=[A-Z])", " ", password)) | readings
    short = set().union(*(leet_forms(word) for word in words if len(word) == 4))
    return any(
        re.search(rf"(?<![^\W\d_]){re.escape(name)}(?![^\W\d_])", reading) for name in short for reading in spaced
    )


# --- Strength ---------------------------------------------------------------------------------------------------------

# The list Django ships has 20,000 passwords in order of their frequency, in lower case and hardly one with a symbol: it
# knows `password`, not `P@ssw0rd123!`. So a password is cut into the pieces it was made of (a common word, a walk over
# the keyboard, a year, a mark at the end), and each piece counts with the tries it takes. The cheapest way to cut it up
# decides, as in "zxcvbn: Low-Budget Password Strength Estimation" (Wheeler, 2016).
#
# The package zxcvbn 4.5 does not replace it: at a bar of 10^8 it takes 22 of the passwords that test_password_strength
# refuses, at 10^9 it refuses good ones and still takes 10, and 90 characters cost it half a second.


#: Powers of ten. A list of common words, each in the usual disguises, is shorter than this.
ENOUGH = 6.7
#: From this length on a password is strong without classes.
LONG = 15
#: Nothing longer is looked up, copies aside; a longer piece counts as several.
LONGEST = 20

#: What is often used and Django's list lacks or ranks too low counts as the 300 most common.
_USUAL = (Path(__file__).parent / "usual_words.txt").read_text(encoding="utf-8").split()
#: Well-known sentences, letters alone.
_SAYINGS = frozenset((Path(__file__).parent / "sayings.txt").read_text(encoding="utf-8").split())

#: Keys in a row, the alphabet, and columns of the keyboard; each is walked both ways.
_ROWS = (
    *("abcdefghijklmnopqrstuvwxyz", "01234567890"),
    *("qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"),
    *("qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn"),
    *("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю", "абвгдежзийклмнопрстуфхцчшщъыьэюя"),
)
_KEYS = ("`1234567890-=", " qwertyuiop[]\\", " asdfghjkl;'", " zxcvbnm,./")

_UNSHIFTED = str.maketrans('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./")
#: Two readings, since `1` and `!` stand for an i and for an l.
_READINGS = (str.maketrans("@4301!|$57+89(", "aaeoiiissttbgc"), str.maketrans("@4301!|$57+89(", "aaeolllssttbgc"))
_MARKS = {"!": 0.6, "@": 0.8, "#": 0.8, "$": 0.8, ".": 0.8, "*": 0.8, "?": 0.8, "-": 0.8, "_": 0.8, " ": 0.8, "1": 0.7}

_ONE_CHARACTER_OFTEN = re.compile(r"(.)\1{3,}", re.DOTALL)
_YEAR = re.compile(r"(?:19|20)\d\d")
_DAY, _MONTH = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])"
_DATE = re.compile(rf"(?:{_DAY}{_MONTH}|{_MONTH}{_DAY})(?:(?:19|20)?\d\d)|(?:19|20)\d\d{_MONTH}{_DAY}")
_DECORATION = r"[\W\d_]+"
_EDGES = re.compile(rf"^{_DECORATION}|{_DECORATION}$")
_TAIL = re.compile(rf"{_DECORATION}$")
_LETTERLESS = re.compile(_DECORATION)


def is_guessable(password: str) -> bool:
    """Whether the password is a common one, or one made of common pieces in the usual way. Any length, linear time."""
    typed = _closed_up(normalize("NFKC", password).casefold())
    if _is_listed(typed) or _is_interleaved(typed):
        return True
    shifts = min(sum(map(str.isupper, password)), sum(map(str.islower, password)))
    return min(0.3 * shifts, 1.5) + _pieces(typed) < ENOUGH


def leet_forms(text: str) -> set[str]:
    """The text in lower case, as typed and with its leet undone."""
    typed = normalize("NFKC", text).casefold()
    return {typed, *(typed.translate(reading) for reading in _READINGS)}


@cache
def _common_words() -> dict[str, float]:
    """Common words and passwords with the power of ten of their rank."""
    path = Path(password_validation.__file__).parent / "common-passwords.txt.gz"
    with gzip_open(path, "rt", encoding="utf-8") as lines:
        listed = [line.strip() for line in lines]
    ranks = {word: log10(number + 2) for number, word in reversed(list(enumerate(listed)))}
    for word in _USUAL:
        ranks[word] = min(ranks.get(word, 9), 2.5)
    backwards = {word[::-1]: rank + 1 for word, rank in ranks.items() if rank <= 3 and len(word) >= 5}
    return backwards | ranks


def _is_listed(typed: str) -> bool:
    """Common as it is, or once the digits and symbols around and between its letters are gone: `1Pass-word!99`."""
    if len(typed) > 2 * LONGEST:
        return False
    ranks = _common_words()
    # Without the ends before leet is undone, so that it undoes none of them: `p@ssw0rd!1` is no `passwordil`.
    bare = [word.translate(reading) for word in (_EDGES.sub("", typed), _TAIL.sub("", typed)) for reading in _READINGS]
    for form in (typed, *(typed.translate(reading) for reading in _READINGS)):
        letters = _LETTERLESS.sub("", form)
        if form in ranks or letters in _SAYINGS:
            return True
        # Both ends bare; only the tail, for the front may be leet: `@dmin`.
        words = [(word, 4) for word in (_EDGES.sub("", form), _TAIL.sub("", form), *bare)]
        for word, least in (*words, (letters, 5)):
            # A long tail may make a good password of a bad word; then the pieces are counted.
            is_short = len(typed) < LONG or len(typed) - len(word) <= 6
            if is_short and len(word) >= least and word in ranks:
                return True
    return False


def _is_interleaved(typed: str) -> bool:
    """Letters in a row between digits in a row: `a1b2c3d4`, `1q2w3e4r`."""
    if len(typed) > 2 * LONGEST:
        return False
    letters = "".join(character for character in typed if character.isalpha())
    digits = "".join(character for character in typed if character.isdigit())
    return len(letters) >= 3 and len(digits) >= 3 and _is_row(letters) and (_is_row(digits) or len(set(digits)) == 1)


def _closed_up(typed: str) -> str:
    """Without the mark between all its letters (`p a s s w o r d`), and with doubled letters (`ppaassss`) once."""
    for mark in " -_.,*+":
        if typed.count(mark) * 5 >= len(typed) * 2:
            typed = typed.replace(mark, "") or typed
    return typed[::2] if typed[::2] == typed[1::2] else typed


def _pieces(typed: str) -> float:
    """The power of ten of the tries it takes, or something above ENOUGH: counting ends there.

    The cheapest way to cut the text into pieces, from the front: `best[i]` is what the first i characters cost.
    """
    # How often a character is repeated adds next to nothing.
    text = _ONE_CHARACTER_OFTEN.sub(r"\1\1\1", typed)
    forms = [text, text.translate(_UNSHIFTED), *(text.translate(reading) for reading in _READINGS)]
    best = [0.0] + [float("inf")] * len(text)
    copied = 0
    for start in range(len(text)):
        # Every way to the end passes one of the next LONGEST places, or comes out of the copy under way.
        if min(best[start : start + LONGEST + 1]) >= ENOUGH and best[max(copied, start)] >= ENOUGH:
            return ENOUGH
        ends = _pieces_at(forms, start)
        # A repetition of 4 characters or more. One long copy, not one from each of its characters: that were quadratic.
        source = text.find(text[start : start + 4], 0, start + 3) if start >= copied and start + 4 <= len(text) else -1
        if source >= 0:
            copied = start
            while copied < len(text) and text[source + copied - start] == text[copied]:
                copied += 1
            ends.append((copied, 0.3))
        for end, cost in ends:
            best[end] = min(best[end], best[start] + cost)
    return best[-1]


def _pieces_at(forms: list[str], start: int) -> list[tuple[int, float]]:
    """Where pieces that begin here may end, and the power of ten each costs."""
    text, first = forms[0], forms[0][start]
    cost = _MARKS.get(first, 1.0 if first.isdigit() else 1.4)
    found = [(start + 1, cost)]
    if text[start : start + 3] == first * 3:
        found.append((start + 3, cost + 0.3))
    ranks = _common_words()
    for disguise, form in zip((0.0, 0.5, 0.5, 0.5), forms, strict=True):
        for end in range(start + 3, min(len(form), start + LONGEST) + 1):
            if (rank := ranks.get(form[start:end])) is not None:
                found.append((end, rank + disguise))
    found += _walks(forms[1], start)
    for pattern, cost in ((_YEAR, 1.7), (_DATE, 4.0)):
        if match := pattern.match(text, start):
            found.append((match.end(), cost))
    return found


@cache
def _neighbours() -> dict[tuple[str, str], tuple[int, int]]:
    """Pairs of keys side by side with the direction from the first to the second."""
    places = {key: (row, column) for row, keys in enumerate(_KEYS) for column, key in enumerate(keys) if key != " "}
    directions = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, -1), (-1, 1))
    keys = {place: key for key, place in places.items()}
    return {
        (key, keys[row + down, column + right]): (down, right)
        for key, (row, column) in places.items()
        for down, right in directions
        if (row + down, column + right) in keys
    }


@cache
def _steps() -> frozenset[str]:
    """Pairs that follow each other in a row, forwards and backwards."""
    return frozenset(line[at : at + 2] for row in _ROWS for line in (row, row[::-1]) for at in range(len(line) - 1))


def _is_row(text: str) -> bool:
    return all(text[at : at + 2] in _steps() for at in range(len(text) - 1))


def _walks(text: str, start: int) -> list[tuple[int, float]]:
    """Rows (`abcd`, `4321`) and walks from key to key (`qwedsa`), where every turn is one more thing to guess."""
    found, neighbours, steps = [], _neighbours(), _steps()
    on_row = on_keys = True
    turns, heading = 0, None
    first = 0.7 if text[start] in "01aq" else 1.3
    for end in range(start + 2, min(len(text), start + LONGEST) + 1):
        pair = text[end - 2 : end]
        direction = neighbours.get((pair[0], pair[1]))
        on_row, on_keys = on_row and pair in steps, on_keys and direction is not None
        if not on_row and not on_keys:
            break
        turns, heading = turns + (heading not in {None, direction}), direction
        if end - start >= 3:
            found.append((end, first + 0.05 * (end - start) + (0 if on_row else 0.7 + 0.6 * turns)))
    return found
