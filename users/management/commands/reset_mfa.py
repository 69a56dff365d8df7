from typing import Any

from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import second_factors


class Command(PeopleCommand):
    help = "Remove every second factor and all recovery codes of people who lost them, and sign them out everywhere."
    asks_reason = True

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        removed = second_factors.remove_all(user, actor=self.actor, reason=options["reason"])
        return f"{user.email}: {removed} second factor{'' if removed == 1 else 's'} removed", {"removed": removed}
