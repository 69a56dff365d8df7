"""E-mail addresses, one spelling for one mailbox (RFC 5321; IDNA 2008, RFC 5891, with the mapping of UTS 46).

Stored, compared and shown is the readable form, `ada@bücher.example`. Only what leaves for another machine is ASCII.
"""

import re
from ipaddress import ip_address

import idna
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from lib.text import require_storable

EMAIL_MAX_LENGTH = 254
_LITERAL = re.compile(r"\[([0-9a-f:.]+)\]")
_ATOMS = re.compile(r"[-!#$%&'*+/=?^_`{}|~0-9a-z]+(\.[-!#$%&'*+/=?^_`{}|~0-9a-z]+)*")
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\[ -~])*)"')
_JOINERS = re.compile("[\u200c\u200d]")


def canonical(address: str) -> str:
    """The one spelling. ValueError, worded to follow "the address", when there is none."""
    local, at, domain = address.strip().rpartition("@")
    if not at:
        raise ValueError("is not a valid e-mail address")
    if len(local) > EMAIL_MAX_LENGTH or len(domain) > EMAIL_MAX_LENGTH:
        raise ValueError(f"must have at most {EMAIL_MAX_LENGTH} characters")
    local = local.lower()
    if not (local.isascii() and local.isprintable()):
        raise ValueError("holds characters before the @ that are not ASCII")
    return f"{_unquoted(local)}@{canonical_domain(domain)}"


def _unquoted(local: str) -> str:
    """Without quotes that add nothing: `"ada"` is the mailbox `ada` (RFC 5321, 4.1.2)."""
    if (quoted := _QUOTED.fullmatch(local)) is None:
        return local
    text = re.sub(r"\\(.)", r"\1", quoted[1])
    return text if _ATOMS.fullmatch(text) else '"' + re.sub(r'(["\\ ])', r"\\\1", text) + '"'


def canonical_domain(domain: str) -> str:
    """In lower case and readable; ValueError for what IDNA 2008 refuses, and for characters that cannot be seen."""
    lowered = domain.lower()
    if literal := _LITERAL.fullmatch(lowered):
        return f"[{ip_address(literal[1]).compressed}]"
    if domain.isascii() and "xn--" not in lowered:
        return lowered
    try:
        is_visible = all(idna.uts46_remap(sign) for sign in domain)
        readable = ".".join(map(_readable, idna.uts46_remap(domain).split(".")))
    except (idna.IDNAError, UnicodeError):
        raise ValueError("has a domain that does not exist in IDNA 2008") from None
    if not is_visible or _JOINERS.search(readable):
        raise ValueError("holds characters that cannot be seen")
    if readable != readable.lower():  # Cherokee: a database would call it no lower case
        raise ValueError("has a domain that does not exist in IDNA 2008")
    return readable


def _readable(label: str) -> str:
    """As IDNA 2008 has it where it is not plain ASCII; other labels keep their hyphens."""
    if label.isascii() and not label.startswith("xn--"):
        return label
    readable = idna.ulabel(label)
    idna.alabel(readable)  # not too long as it travels
    return readable


def ascii_domain(domain: str) -> str:
    """As mail servers know it: `xn--bcher-kva.example`; what no server can take stays, for the transport to refuse.

    What IDNA 2008 refuses was kept and mailed by older releases as IDNA 2003 has it, and still is.
    """
    try:
        return ".".join(label if label.isascii() else idna.alabel(label).decode() for label in domain.split("."))
    except idna.IDNAError:
        try:
            return domain.encode("idna").decode()
        except UnicodeError:
            return domain


def ascii_form(address: str) -> str:
    """The address as it travels."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{ascii_domain(domain)}"


def typed_email(address: str) -> str:
    """Stripped and in lower case, as addresses were stored before there was one spelling for each."""
    return address.strip().lower()


def normal_email(address: str) -> str:
    """The one spelling; a text that is no address comes back as `typed_email`, to be looked up in vain."""
    try:
        return canonical(address)
    except ValueError:
        return typed_email(address)


def normal_domain(domain: str) -> str:
    """The one spelling of a domain; a text that is none comes back unchanged."""
    try:
        return canonical_domain(domain)
    except ValueError:
        return domain


def valid_email(address: str) -> str:
    """The one spelling; ValueError without one, when Django's validator refuses it, or over 254 characters."""
    address = canonical(require_storable(address))
    try:
        validate_email(ascii_form(address))
    except ValidationError:
        raise ValueError("is not a valid e-mail address") from None
    if len(ascii_form(address)) > EMAIL_MAX_LENGTH:
        raise ValueError(f"must have at most {EMAIL_MAX_LENGTH} characters")
    return address
