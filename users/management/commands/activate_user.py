from typing import Any

from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import staff


class Command(PeopleCommand):
    help = "Let people sign in again and lift the pause after wrong passwords. Does not verify the address."

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        changed = staff.activate(user, actor=self.actor)
        note = "" if user.is_verified else " (address not verified)"
        return f"{user.email} is active{note}", {"changed": changed, "is_verified": user.is_verified}
