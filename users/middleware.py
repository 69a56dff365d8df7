"""The admin's sign-in is a UserSession like any other: ending it signs out at the next click."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import cast

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from users.api.auth import set_device_cookie
from users.models import User, UserSession
from users.services import sessions
from users.signals import SESSION_KEY


class AdminSessionMiddleware:
    """Signs out a Django session whose UserSession was revoked, has expired or was idle for 30 minutes.

    A sign-in leaves the same cookie as one to the API (devices.py).
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated and not self._is_live(request):
            logout(request)
        response = self.get_response(request)
        if device := getattr(request, "known_device", ""):
            set_device_cookie(response, device)
        return response

    @staticmethod
    def _is_live(request: HttpRequest) -> bool:
        try:
            session_id = uuid.UUID(request.session.get(SESSION_KEY, ""))
        except ValueError:
            return False
        now = timezone.now()
        user = cast(User, request.user)
        session = UserSession.objects.live(now).filter(pk=session_id, user=user).first()
        if session is None:
            return False
        sessions.note_seen(session, now)
        user.session_id = session.pk
        # For staff_site/access.py: what was proved in it, and when.
        request.staff_session = session  # type: ignore[attr-defined]
        return True
