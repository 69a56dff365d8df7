"""What surrounds every operation for staff: a limit of calls, and one answer for all repeats of a write.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10 and draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Status
from pydantic_core import to_jsonable_python

from lib.errors import ProductError
from users.models import GivenAnswer, User
from users.services import rate_limits

#: Calls of one key, or of one person without a key.
LIMIT = rate_limits.Limit("staff_api", 600, window=60)
_KEY_LENGTH = 255


def guard(request: HttpRequest, run: Callable[[], Any], *, response: HttpResponse | None) -> Any:
    """What `run` answers; a repeat with the same `Idempotency-Key` gets what the first was answered, with the `ETag`
    that `run` gave the `response`.

    Raises: IDEMPOTENCY_KEY_INVALID (400), IDEMPOTENCY_KEY_REUSED (422): the same key came with another body, or when
        the caller had other rights.
    """
    user: User = request.auth  # type: ignore[attr-defined]
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method == "GET":
        return run()
    if not 0 < len(key) <= _KEY_LENGTH:
        raise ProductError("IDEMPOTENCY_KEY_INVALID", f"An Idempotency-Key has 1 to {_KEY_LENGTH} characters.")
    name = sha256(
        "\n".join((_caller(user), request.method or "", request.get_full_path(), key)).encode(errors="replace")
    ).digest()
    asked = _hash_of(request, user)
    try:
        return _first(name, asked, run, response)
    except _Repeated:
        return _again(name, asked, response)


def _hash_of(request: HttpRequest, user: User) -> bytes:
    """Of what is asked, and of the rights it is asked with: an answer shows what its reader was allowed to see."""
    rights = ["superuser"] if user.is_superuser else sorted(user.get_all_permissions())
    return sha256(" ".join(rights).encode() + b"\n" + request.body).digest()


def _caller(user: User) -> str:
    return user.api_key.pk.hex if user.api_key else user.pk.hex


def count(request: HttpRequest, user: User) -> None:
    """Count a call, whatever becomes of it. Raises: TOO_MANY_REQUESTS (429) over 600 a minute."""
    bucket = LIMIT.of_thing("caller", _caller(user))
    block = rate_limits.reserve(bucket)
    left, seconds = (0, block.seconds) if block else rate_limits.left(bucket)
    request.own_headers = {  # type: ignore[attr-defined]
        "ratelimit-policy": ("RateLimit-Policy", f'"staff";q={LIMIT.max_count};w={LIMIT.window}'),
        "ratelimit": ("RateLimit", f'"staff";r={left};t={seconds}'),
    }
    if block:
        raise rate_limits.too_many(block)


class _Repeated(Exception):
    """Another call with this key has been answered."""


def _first(name: bytes, body_hash: bytes, run: Callable[[], Any], response: HttpResponse | None) -> Any:
    """Answer and remember that in one transaction: a refusal, or a process that ends amid it, leaves the key unused.

    Of two at once the second waits for the first one's row.
    """
    with transaction.atomic():
        try:
            with transaction.atomic():
                given = GivenAnswer.objects.create(key=name, body_hash=body_hash)
        except IntegrityError:
            raise _Repeated from None
        result = run()
        if isinstance(result, HttpResponseBase):
            # A file: asked for again it is made again.
            given.delete()
            return result
        status, value = (result.status_code, result.value) if isinstance(result, Status) else (200, result)
        # As a text: PostgreSQL would take `value` apart, and keep neither the order of keys nor NUL.
        given.answer = {"status": status, "value": json.dumps(to_jsonable_python(value))}
        if response is not None and "ETag" in response:
            given.answer["etag"] = response["ETag"]
        given.save(update_fields=["answer"])
        return result


def _again(name: bytes, body_hash: bytes, response: HttpResponse | None) -> Any:
    given = GivenAnswer.objects.filter(pk=name).first()
    if given is None or given.answer is None or bytes(given.body_hash) != body_hash:
        message = "This Idempotency-Key came with another body, or with other rights."
        raise ProductError("IDEMPOTENCY_KEY_REUSED", message, status=422, reason=message)
    if response is not None and "etag" in given.answer:
        response["ETag"] = given.answer["etag"]
    return Status(given.answer["status"], json.loads(given.answer["value"]))
