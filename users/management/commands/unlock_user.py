from typing import Any

from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import staff


class Command(PeopleCommand):
    help = "Lift the pause after wrong passwords or codes. Does not activate."

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        was_paused = staff.unlock(user, actor=self.actor)
        return f"{user.email} {'is unlocked' if was_paused else 'was not paused'}", {"changed": was_paused}
