"""Cookies and headers of answers, alike from the API and the admin."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from lib.actors import DEVICE_COOKIE
from lib.asgi import PiecesResponse
from users.services import tokens


def set_device_cookie(response: HttpResponse, value: str) -> None:
    response.set_cookie(DEVICE_COOKIE, value, max_age=tokens.DEVICE_MAX_AGE, **cookie_attributes())


def cookie_attributes() -> dict[str, Any]:
    return {
        "httponly": True,
        "secure": settings.USERS_ACCESS_TOKEN_COOKIE_SECURE,
        "samesite": settings.USERS_ACCESS_TOKEN_COOKIE_SAME_SITE.capitalize(),
        "path": "/",
    }


def never_store(response: HttpResponseBase) -> None:
    """No cache keeps it (RFC 9111)."""
    response["Cache-Control"] = "no-store"


def download(pieces: Iterator[str]) -> HttpResponseBase:
    """An export as a file."""
    response = PiecesResponse(pieces, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="switchboard-export-{timezone.now():%Y-%m-%d}.json"'
    never_store(response)
    return response
