"""Names as mails may print them: advertising must not leave through a first name."""

import re
import unicodedata

NAME_LIMIT, PLAIN_NAME_LIMIT = 60, 40

# What mail programs turn into a link although it is none, or ring when touched.
_LINKED = re.compile(r"://|www\.|@|[^\s.]\.[^\W\d_]{2,}|\d(?:[\s().-]*\d){5}", re.IGNORECASE)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# A dot stands after initials and what names abbreviate, and nowhere else: it would end a sentence or part a link.
_INITIALS = r"(?:[^\W\d_]\.)+[^\W\d_]?"
_SHORT = r"(?:abp|chas|chr|dr|fr|geo|jos|jr|ma|mlle|mme|mr|mrs|ms|prof|sr|st|sta|ste|sto|th|thos|wm)\."
# Between letters: apostrophes, the ʻokina typed as ‘, the geresh of Hebrew, the dots of Catalan, Japanese and Tibetan.
_WORD = r"['’‘]?[^\W\d_]+(?:['’‘׳·・་][^\W\d_]+)*[׳་]?"
_PART = rf"(?:{_INITIALS}|{_SHORT}|{_WORD})"
_PLAIN_NAME = re.compile(rf"{_PART}(?:[ \-‐‑]{_PART})*", re.IGNORECASE)


def greeting_name(name: str, *, is_proved: bool = True) -> str:
    """The name as a mail may print it, else nothing.

    Cut to 60 characters, and empty when a mail program would make a link of it. Not `is_proved`: the address may
    belong to another person than the one who typed the name, and only a plain name is printed.
    """
    if not is_proved:
        return _plain_name(name)
    name = name.strip()
    plain = unicodedata.normalize("NFKC", name).replace("。", ".")
    unprintable = any(unicodedata.category(sign) in {"Cc", "Zl", "Zp"} or sign in _BIDI for sign in name)
    return "" if unprintable or _LINKED.search(plain) else name[:NAME_LIMIT].rstrip()


def _plain_name(name: str) -> str:
    """The name if it has at most 40 characters and cannot be read as a link or a sentence, else nothing.

    Letters of any script, with initials and abbreviations (`J.R.`, `St. John`), apostrophes and hyphens between them.
    """
    name = " ".join(name.split())
    # Accents and vowel signs may be characters of their own, joiners stand in Persian and Indic names, and where people
    # write from right to left marks stay at the ends.
    name = name.strip("\u200e\u200f")
    letters = "".join(sign for sign in name if unicodedata.category(sign)[0] != "M" and sign not in "\u200c\u200d")
    # A character may stand for several: U+2488 for "1.".
    is_plain = len(name) <= PLAIN_NAME_LIMIT and _PLAIN_NAME.fullmatch(unicodedata.normalize("NFKC", letters))
    return name if is_plain else ""
