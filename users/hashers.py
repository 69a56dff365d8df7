"""Password hashes: Argon2id for everything new, bcrypt for rows that came with the seed."""

import bcrypt
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, BCryptPasswordHasher


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id at 19 MiB and two passes (OWASP); Django's default of 100 MiB would let a few sign-ins fill a server."""

    memory_cost = settings.USERS_ARGON2_MEMORY
    time_cost = settings.USERS_ARGON2_TIME
    parallelism = settings.USERS_ARGON2_PARALLELISM


class SeedBcryptHasher(BCryptPasswordHasher):
    """Reads `bcrypt$$2b$…`. bcrypt has always ignored what lies beyond 72 bytes; since version 5 the library raises."""

    def verify(self, password: str, encoded: str) -> bool:
        algorithm, stored = encoded.split("$", 1)
        try:
            return algorithm == self.algorithm and bcrypt.checkpw(password.encode()[:72], stored.encode("ascii"))
        except ValueError:
            return False  # a malformed row is a wrong password, not an error page
