"""Cursors of lists that grow: opaque, good for one list of one owner, refused unless we made them."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

from django.utils.crypto import constant_time_compare, salted_hmac

from lib.errors import ProductError
from lib.text import whole_number

_MAC_LENGTH = 12


def make(pk: int, *, of: str) -> str:
    """What asks for the rows after this one; `of` names the list and whose it is."""
    mac = salted_hmac("lib.cursors", f"{of}:{pk}", algorithm="sha256").digest()[:_MAC_LENGTH]
    return urlsafe_b64encode(mac + str(pk).encode()).rstrip(b"=").decode()


def read(cursor: str, *, of: str) -> int:
    """The key of the last row shown; ProductError 400 `BAD_CURSOR` for a cursor that is not this list's."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        pk = whole_number(urlsafe_b64decode(padded)[_MAC_LENGTH:])
    except (ValueError, binascii.Error):
        pk = None
    # Made anew and compared whole: base64 has more than one spelling of the same bytes.
    if pk is None or not constant_time_compare(make(pk, of=of), cursor):
        raise ProductError("BAD_CURSOR", "This is no cursor of this list.")
    return pk
