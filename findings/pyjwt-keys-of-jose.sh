#!/bin/sh
# One key, one token, three libraries: by what the key set says of the algorithm, PyJWT does not find the key, or refuses it.
#
# Versions: jose 6.2.18 (npm; Node 20), PyJWT 2.15.1, joserfc 1.8.0, cryptography 50.0.2 (PyPI; Python 3.11).
# The standards: RFC 9864 names what an Ed25519 key does "Ed25519" and deprecates "EdDSA", with the same bytes signed;
# "alg" of a key is optional (RFC 7517, 4.4); an RSA key may serve RS256 and PS256 (RFC 7518, 3.1).
# One guesses: the new name is an alias where the old one is known; and algorithms=["PS256"], which the caller has to say,
# is enough for a key that says nothing.
# Seen: PyJWT knows no "Ed25519". It leaves a key that says so out of its set without a word, and then misses the kid, so
# that one looks for a rotation of keys. An RSA key that says nothing is RS256 and fails a PS256 token, though its `.key`
# verifies it. And jose and joserfc find no key for "Ed25519" in a set that says "EdDSA", the same key: who adopts the new
# name has to rename the key in the same moment, and loses every reader on PyJWT by it. "EdDSA" is read by all.
# Output (alg of the token and of the key; jose, joserfc, PyJWT):
#   Ed25519  Ed25519  ok      ok      KeyError
#   Ed25519  EdDSA    no key  no key  InvalidAlgorithmError
#   Ed25519  -        ok      ok      InvalidAlgorithmError
#   EdDSA    EdDSA    ok      ok      ok
#   EdDSA    -        ok      ok      ok
#   PS256    PS256    ok      ok      ok
#   PS256    -        ok      ok      InvalidAlgorithmError (with .key: ok)
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --ignore-scripts --no-audit --no-fund jose@6.2.18 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyjwt==2.15.1 joserfc==1.8.0 cryptography==50.0.2
cat > node.mjs <<'JS'
import { SignJWT, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';

const given = [];
for (const [alg, says] of [
  ['Ed25519', 'Ed25519'], ['Ed25519', 'EdDSA'], ['Ed25519', undefined],
  ['EdDSA', 'EdDSA'], ['EdDSA', undefined], ['PS256', 'PS256'], ['PS256', undefined],
]) {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const keys = [{ ...(await exportJWK(publicKey)), kid: '2026', alg: says }];
  const token = await new SignJWT({ sub: '7' }).setProtectedHeader({ alg, kid: '2026' }).sign(privateKey);
  const jose = await jwtVerify(token, createLocalJWKSet({ keys }), { algorithms: [alg] }).then(
    () => 'ok', (error) => (error.code === 'ERR_JWKS_NO_MATCHING_KEY' ? 'no key' : error.code),
  );
  given.push({ alg, says: says ?? '-', keys, token, jose });
}
console.log(JSON.stringify(given));
JS
cat > check.py <<'PYTHON'
import json
import sys
import warnings

import jwt
from joserfc import errors
from joserfc import jwt as joserfc
from joserfc.jwk import KeySet

warnings.simplefilter("ignore")  # joserfc's about EdDSA
ANOTHER = {"kty": "oct", "kid": "other", "k": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"}  # PyJWT refuses a set without any key


def with_joserfc(keys, token, alg):
    try:
        joserfc.decode(token, KeySet.import_key_set({"keys": keys}), algorithms=[alg])
    except errors.InvalidKeyIdError:
        return "no key"
    return "ok"


def with_pyjwt(keys, token, alg):
    try:
        key = jwt.PyJWKSet.from_dict({"keys": [*keys, ANOTHER]})["2026"]
        jwt.decode(token, key, algorithms=[alg])
    except (KeyError, jwt.InvalidAlgorithmError) as error:
        name = type(error).__name__
        if alg == "PS256":
            assert jwt.decode(token, key.key, algorithms=[alg]) == {"sub": "7"}
            return f"{name} (with .key: ok)"
        return name
    return "ok"


seen = []
for one in json.load(sys.stdin):
    rest = one["keys"], one["token"], one["alg"]
    seen.append((one["jose"], with_joserfc(*rest), with_pyjwt(*rest)))
    print(f"{one['alg']:8} {one['says']:8} {seen[-1][0]:7} {seen[-1][1]:7} {seen[-1][2]}")
refused = "InvalidAlgorithmError"
wanted = [
    ("ok", "ok", "KeyError"),
    ("no key", "no key", refused),
    ("ok", "ok", refused),
    *[("ok", "ok", "ok")] * 3,
    ("ok", "ok", f"{refused} (with .key: ok)"),
]
sys.exit(seen != wanted)
PYTHON
node node.mjs | venv/bin/python check.py
