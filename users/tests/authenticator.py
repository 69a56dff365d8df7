"""A passkey's keeper in software: answers WebAuthn options as a browser's `credential.toJSON()` would."""

import base64
import hashlib
import json
import secrets

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ORIGIN = "https://app.example.org"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Authenticator:
    """Keeps one passkey. `count` is its sign count, `origin` where its browser says it is."""

    def __init__(self, *, origin=ORIGIN, verifies=True):
        self.origin, self.flags, self.count = origin, PRESENT | (VERIFIED if verifies else 0), 0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(32)
        self.handle = b""
        self.more: dict = {}  # further members of the client data

    def create(self, options):
        self.handle = base64.urlsafe_b64decode(options["user"]["id"] + "==")
        data = self._data(options["rp"]["id"], self.flags | ATTESTED)
        data += bytes(16) + len(self.id).to_bytes(2, "big") + self.id + self._public_key()
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options)
        return self._credential(clientDataJSON=b64(client), attestationObject=b64(attestation), transports=["usb"])

    def get(self, options, *, grows=True):
        self.count += grows
        data, client = self._data(options["rpId"], self.flags), self._client("webauthn.get", options)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential(
            clientDataJSON=b64(client),
            authenticatorData=b64(data),
            signature=b64(signature),
            userHandle=b64(self.handle),
        )

    def _data(self, rp_id, flags):
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind, options):
        data = {"type": kind, "challenge": options["challenge"], "origin": self.origin, **self.more}
        return json.dumps(data).encode()

    def _public_key(self):
        numbers = self.key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})

    def _credential(self, **response):
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response}
