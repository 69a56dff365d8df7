"""Moving in from the seed: its users and flags, read from its PostgreSQL."""

from users.services.importing.flags import import_flags
from users.services.importing.people import import_users
from users.services.importing.report import Options, Report
from users.services.importing.source import Source, SourceError

__all__ = ["Options", "Report", "Source", "SourceError", "import_flags", "import_users"]
