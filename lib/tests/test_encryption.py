"""Keys of one purpose, derived by RFC 5869."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lib import encryption


@pytest.mark.parametrize("secret", ["short", "a secret longer than the block of its hash " * 3, "g\u00e4rten"])
def test_a_key_is_derived_as_by_hkdf(secret):
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"switchboard access")

    assert encryption.derive(secret, "access") == hkdf.derive(secret.encode())
