"""The admin's sign-in is a UserSession like any other: ending it signs out at the next click."""

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from lib.actors import Actor
from users.models import User, UserSession
from users.responses import set_device_cookie
from users.services import sessions, tokens

#: Where a Django session keeps the id of its UserSession.
SESSION_KEY = "users.session"


def open_admin_session(sender: type[User], request: HttpRequest, user: User, **kwargs: Any) -> None:
    actor = Actor.anonymous(request, "admin").as_user(user)
    is_new = sessions.is_new_place(user, actor)
    amr = getattr(request, "proved", ("pwd",))
    session = sessions.new_session(user, actor.request, UserSession.Kind.ADMIN, timezone.now(), amr)
    sessions.note_sign_in(user, session, actor, is_new_place=is_new)
    request.session[SESSION_KEY] = session.pk.hex
    user.session_id = session.pk
    # The middleware has the answer in hand.
    request.known_device = tokens.device_cookie(user.email)  # type: ignore[attr-defined]


def end_admin_session(sender: type[User], request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    session_id = request.session.get(SESSION_KEY)
    if user is None or not session_id:
        return
    if session := UserSession.objects.select_related("user").filter(pk=session_id).first():
        sessions.end_session(session, reason="logout", actor=Actor.anonymous(request, "admin").as_user(user))


class AdminSessionMiddleware:
    """Signs out a Django session whose UserSession was revoked, has expired or was idle for 30 minutes.

    A sign-in leaves the same device cookie as one to the API.
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
        # For staff_site/pages.py: what was proved in it, and when.
        request.staff_session = session  # type: ignore[attr-defined]
        return True
