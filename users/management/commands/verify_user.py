from typing import Any

from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import staff


class Command(PeopleCommand):
    help = "Take addresses as verified without a code, on your word."
    asks_reason = True

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        changed = staff.mark_verified(user, actor=self.actor, reason=options["reason"])
        return f"{user.email} is verified", {"changed": changed}
