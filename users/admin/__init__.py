"""What staff see of accounts: people, their groups and sessions, the audit trail."""

from users.admin import audit, groups, people, sessions  # noqa: F401  (each registers its pages)
