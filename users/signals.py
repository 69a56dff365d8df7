"""Django's sign-in and sign-out of the admin, tied to our sessions."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from users.models import User, UserSession
from users.services import signin
from users.services.callers import Caller

#: Where a Django session keeps the id of its UserSession.
SESSION_KEY = "users.session"


@receiver(user_logged_in)
def open_admin_session(sender: type[User], request: HttpRequest, user: User, **kwargs: Any) -> None:
    session = signin.new_session(user, Caller.of(request), UserSession.Kind.ADMIN, timezone.now())
    request.session[SESSION_KEY] = session.pk.hex


@receiver(user_logged_out)
def end_admin_session(sender: type[User], request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None and (session_id := request.session.get(SESSION_KEY)):
        signin.end_sessions(UserSession.objects.filter(pk=session_id), reason="logout")
