"""Text as it is searched, in Python and in SQL: in lower case and without accents, so that `muller` finds Müller.

A migration has written the SQL into databases: a change here needs one that writes it again.
"""

import unicodedata
from functools import reduce

_MORE = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ĳ": "ij"}
_PLAIN = {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ŧ": "t", "ı": "i"}
_MARKS = "".join(map(chr, range(0x300, 0x370)))


def _table() -> dict[str, str]:
    """What stands for each accented Latin letter, in both cases (Latin-1, Extended-A, -B and Additional)."""
    table = _PLAIN | _MORE
    for letter in map(chr, (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))):
        base = unicodedata.normalize("NFKD", letter)[0].lower()
        if base.isascii():
            table.setdefault(letter, base)
    return table | {letter.upper(): base for letter, base in (_PLAIN | _MORE).items() if len(letter.upper()) == 1}


_TABLE = _table()
_TRANSLATION = str.maketrans({**_TABLE, **dict.fromkeys(_MARKS, "")})


def folded(text: str) -> str:
    return text.translate(_TRANSLATION).lower().translate(_TRANSLATION)


def postgresql(expression: str) -> str:
    """`folded` of an expression of SQL."""
    single = {letter: base for letter, base in _TABLE.items() if len(base) == 1}
    text = f"translate(lower({expression}), '{''.join(single)}{_MARKS}', '{''.join(single.values())}')"
    more = {letter: base for letter, base in _TABLE.items() if len(base) > 1}
    return reduce(lambda inner, letter: f"replace({inner}, '{letter}', '{more[letter]}')", more, text)


def sqlite(column: str) -> list[str]:
    """The same, but for the case, as expressions to be put into the column one after the other.

    SQLite's parser takes only so many calls in one another.
    """
    pieces, letters = [], [*_TABLE.items(), *((mark, "") for mark in _MARKS)]
    for start in range(0, len(letters), 20):
        some = letters[start : start + 20]
        pieces.append(reduce(lambda inner, pair: f"replace({inner}, '{pair[0]}', '{pair[1]}')", some, column))
    return pieces
