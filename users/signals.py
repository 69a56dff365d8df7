"""Django's sign-in and sign-out of the admin, tied to our sessions."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from lib.actors import Actor
from users.models import User, UserSession
from users.services import devices, sessions

#: Where a Django session keeps the id of its UserSession.
SESSION_KEY = "users.session"


@receiver(user_logged_in)
def open_admin_session(sender: type[User], request: HttpRequest, user: User, **kwargs: Any) -> None:
    actor = Actor.anonymous(request, "admin").as_user(user)
    place = sessions.place_of(user, actor)
    amr = getattr(request, "proved", ("pwd",))
    session = sessions.new_session(user, actor.request, UserSession.Kind.ADMIN, timezone.now(), amr)
    sessions.note_sign_in(user, session, actor, place=place)
    request.session[SESSION_KEY] = session.pk.hex
    user.session_id = session.pk
    # For AdminSessionMiddleware, which has the answer in hand.
    request.known_device = devices.issue(user.email)  # type: ignore[attr-defined]


@receiver(user_logged_out)
def end_admin_session(sender: type[User], request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    session_id = request.session.get(SESSION_KEY)
    if user is None or not session_id:
        return
    if session := UserSession.objects.select_related("user").filter(pk=session_id).first():
        sessions.end_session(session, reason="logout", actor=Actor.anonymous(request, "admin").as_user(user))
