"""What staff see of accounts: people, their sessions, the audit trail."""

from users.admin import audit, people, sessions  # noqa: F401  (each registers its pages)
