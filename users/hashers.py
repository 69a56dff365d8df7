"""Password hashes: Argon2id for everything new, bcrypt for rows that came with the seed."""

from unicodedata import normalize

import bcrypt
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, BCryptPasswordHasher

#: Beyond it nothing is respelt: putting the marks of a long text in order takes quadratic time.
_LONGEST = 4096


def one_spelling(password: str) -> str:
    """NFC (NIST SP 800-63B-4, 3.1.1.2): a Mac may type `é` as two characters where other keyboards type one."""
    return password if len(password) > _LONGEST else normalize("NFC", password)


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id at 19 MiB and two passes (OWASP); Django's default of 100 MiB would let a few sign-ins fill a server."""

    memory_cost = settings.USERS_ARGON2_MEMORY
    time_cost = settings.USERS_ARGON2_TIME
    parallelism = settings.USERS_ARGON2_PARALLELISM

    def encode(self, password: str, salt: str) -> str:
        encoded: str = super().encode(one_spelling(password), salt)
        return encoded


class SeedBcryptHasher(BCryptPasswordHasher):
    """Reads `bcrypt$$2b$…`. bcrypt has always ignored what lies beyond 72 bytes; since version 5 the library raises."""

    def verify(self, password: str, encoded: str) -> bool:
        algorithm, stored = encoded.split("$", 1)
        try:
            return algorithm == self.algorithm and bcrypt.checkpw(password.encode()[:72], stored.encode("ascii"))
        except ValueError:
            return False  # a malformed row is a wrong password, not an error page
