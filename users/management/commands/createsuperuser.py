import os
from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from lib.actors import Actor
from lib.addresses import valid_email
from lib.commands import Command as OurCommand
from lib.text import is_storable
from users.models import User
from users.services import audit


class Command(OurCommand, createsuperuser.Command):
    """Django's, on record; the policy also holds for a password that comes from the environment."""

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["email"] or os.environ.get("DJANGO_SUPERUSER_EMAIL", "")
        if not is_storable(email):
            raise CommandError("Enter a valid email address.")
        if not options["interactive"]:
            try:
                if (password := os.environ.get("DJANGO_SUPERUSER_PASSWORD")) is not None:
                    validate_password(password, User(email=email))
            except ValidationError as error:
                raise CommandError(f"DJANGO_SUPERUSER_PASSWORD: {error.messages[0]}") from None
        superusers = User.objects.filter(is_superuser=True)
        before = set(superusers.values_list("pk", flat=True))
        super().handle(*args, **options)
        for user in superusers.exclude(pk__in=before):
            audit.record("user.created", actor=Actor.command("createsuperuser"), user=user, is_superuser=True)

    def _validate_username(self, username: str | None, *args: Any) -> Any:
        """What is wrong with an address, as Django asks before it goes on; also one without the one spelling."""
        if problem := super()._validate_username(username, *args):  # type: ignore[misc]  # the stubs leave it out
            return problem
        try:
            valid_email(username or "")
        except ValueError as error:
            return f"Error: The address {error}."
