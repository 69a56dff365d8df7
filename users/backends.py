"""Django's door to the same sign-in: one service, one limiter, one hashing pool, so no second path is weaker."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from users.models import User
from users.services import sign_in


class SignInBackend(ModelBackend):
    """Permissions as ModelBackend has them; signing in through `users.services`."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The user, or None for a wrong password; a pause and a full queue raise the service's ProductError."""
        if username is None or password is None or not is_storable(username + password):
            return None
        actor = Actor.anonymous(request, "admin") if request is not None else Actor("admin")
        attempt = sign_in.begin(email=username, actor=actor)
        checked = sign_in.compare(attempt, password)
        try:
            return sign_in.finish(attempt, checked)
        except ProductError:
            return None
