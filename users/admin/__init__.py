"""What staff see of accounts: users, their groups and sessions, the audit trail."""

from users.admin import audit, keys, sessions, users  # noqa: F401  (each registers its pages)
