"""Addresses and networks. A v4 address inside a v6 one stays a v6 address."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton

_PREFIX = re.compile(r"\+?[0-9]+")

# By version: for each mask the networks that have it.
Networks = dict[bool, list[tuple[int, frozenset[int]]]]


def read_address(text: str) -> int | None:
    """The number of an address (its version shows in its colon); None when it is none."""
    # Not `ipaddress`: it takes twenty times as long, and a zone where none belongs.
    try:
        return int.from_bytes(inet_pton(AF_INET6 if ":" in text else AF_INET, text), "big")
    except (OSError, ValueError):
        return None


def read_network(text: str) -> tuple[bool, int, int] | None:
    """(is it v6, mask, network) of an address or CIDR, host bits allowed; None when it is neither."""
    address, slash, prefix = text.partition("/")
    v6 = ":" in address
    number = read_address(address)
    mask = _mask(prefix, v6) if slash else _ones(128 if v6 else 32, v6)
    if number is None or mask is None:
        return None
    return v6, mask, number & mask


def gather(texts: Iterable[str]) -> Networks:
    """Entries grouped for the look-up; invalid ones are left out."""
    groups: dict[bool, dict[int, set[int]]] = {False: defaultdict(set), True: defaultdict(set)}
    for text in texts:
        entry = read_network(text)
        if entry:
            v6, mask, network = entry
            groups[v6][mask].add(network)
    return {v6: [(mask, frozenset(found)) for mask, found in masks.items()] for v6, masks in groups.items()}


def contains(networks: Networks, text: str) -> bool:
    address = read_address(text)
    return address is not None and any(address & mask in found for mask, found in networks[":" in text])


def _mask(prefix: str, v6: bool) -> int | None:
    """From a length, or for v4 from a mask such as 255.255.0.0."""
    if _PREFIX.fullmatch(prefix):
        length = int(prefix.lstrip("+0")[:4] or "0")
        return _ones(length, v6) if length <= (128 if v6 else 32) else None
    mask = None if v6 or ":" in prefix else read_address(prefix)
    if mask is None or mask not in _V4_MASKS:
        return None
    return mask


def _ones(length: int, v6: bool) -> int:
    width = 128 if v6 else 32
    return (1 << width) - (1 << (width - length))


_V4_MASKS = frozenset(_ones(length, False) for length in range(33))
