from typing import Any

from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import staff


class Command(PeopleCommand):
    help = "Sign people out everywhere and let them in no more, until they are activated."
    asks_reason = True

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        changed = staff.deactivate(user, actor=self.actor, reason=options["reason"])
        return f"{user.email} is deactivated", {"changed": changed}
