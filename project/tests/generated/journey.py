"""A journey by a client that was generated from the description of the API; `test_clients.py` runs it.

Arguments: the address of the server, and what makes an account of this address an administrator.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from http import HTTPStatus

from switchboard_generated import AuthenticatedClient, Client
from switchboard_generated.api.accounts import get_own_profile, login, register, request_verification_token, verify
from switchboard_generated.api.api_keys import create_own_key
from switchboard_generated.api.second_factors import confirm_totp, start_totp, verify_factor
from switchboard_generated.api.staff_flags import create_flag, why_flag
from switchboard_generated.api.staff_messages import list_messages, resend_message
from switchboard_generated.api.staff_verbs import switch_on_flag
from switchboard_generated.models import (
    CodeIn,
    EmailIn,
    FactorIn,
    FlagIn,
    KeyIn,
    ListMessagesStateType0,
    LoginFormParams,
    LoginOut,
    MessageOut,
    MessagesOut,
    MfaVerifyInByCode,
    MfaVerifyInByCodeMethod,
    NewKeyOut,
    RegisterIn,
    TotpOut,
    UserOut,
    VerbOut,
    VerificationOut,
    VerifyIn,
    WhyOut,
)

EMAIL, PASSWORD = "ada@example.org", "Correct-Horse-7"
DEADLINE = 30  # seconds


def code_of(secret: str, at: float) -> str:
    """The code of an authenticator app (RFC 6238)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.digest(key, (int(at) // 30).to_bytes(8, "big"), hashlib.sha1)
    start = mac[-1] & 15
    return f"{(int.from_bytes(mac[start : start + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def main(url: str, promote: list[str]) -> None:
    anonymous = Client(base_url=url)

    registered = register.sync(
        client=anonymous, body=RegisterIn(email=EMAIL, password=PASSWORD, first_name="Ada", last_name="Lovelace")
    )
    assert isinstance(registered, UserOut)
    asked = request_verification_token.sync(client=anonymous, body=EmailIn(email=EMAIL))
    assert isinstance(asked, VerificationOut)
    code = str(asked.registration_code)
    verify.sync(client=anonymous, body=VerifyIn(token=asked.verification_token, registration_code=code))
    subprocess.run(promote, check=True, capture_output=True)

    person = AuthenticatedClient(base_url=url, token=sign_in(anonymous))
    started = start_totp.sync(client=person, body=FactorIn(name="Phone"))
    assert isinstance(started, TotpOut)
    confirm_totp.sync(client=person, body=CodeIn(code=code_of(started.secret, time.time())))

    second = login.sync_detailed(client=anonymous, body=LoginFormParams(username=EMAIL, password=PASSWORD))
    assert second.status_code == HTTPStatus.FORBIDDEN
    waiting = json.loads(second.content)["mfa_token"]
    # A code is good once.
    later = code_of(started.secret, time.time() + 30)
    body = MfaVerifyInByCode(mfa_token=waiting, method=MfaVerifyInByCodeMethod.TOTP, code=later)
    signed_in = verify_factor.sync(client=anonymous, body=body)
    assert isinstance(signed_in, LoginOut), signed_in

    person = AuthenticatedClient(base_url=url, token=str(signed_in.access_token))
    scopes = ["account:read", "flags:write", "flags:switch", "messages:write", "people:read"]
    made = create_own_key.sync(client=person, body=KeyIn(name="journey", scopes=scopes))
    assert isinstance(made, NewKeyOut), made

    program = AuthenticatedClient(base_url=url, token=made.secret)
    profile = get_own_profile.sync(client=program)
    assert isinstance(profile, UserOut)
    create_flag.sync(client=program, body=FlagIn.from_dict({"document": {"codename": "FF_JOURNEY"}}))
    switched = switch_on_flag.sync("FF_JOURNEY", client=program)
    assert isinstance(switched, VerbOut), switched
    assert switched.changed
    why = why_flag.sync("FF_JOURNEY", client=program, user=profile.id)
    assert isinstance(why, WhyOut), why

    uid = sent_message(program)
    copy = resend_message.sync(uid, client=program)
    assert isinstance(copy, MessageOut), copy
    print(json.dumps({"why": why.to_dict(), "copy_of": copy.parent, "of": uid}))


def sent_message(client: AuthenticatedClient) -> str:
    """The mail about the new key, once it has left."""
    ends = time.monotonic() + DEADLINE
    while time.monotonic() < ends:
        sent = list_messages.sync(client=client, state=ListMessagesStateType0.SENT, type_="users.api_key_created")
        assert isinstance(sent, MessagesOut), sent
        if sent.items:
            return sent.items[0].uid
        time.sleep(0.2)
    raise AssertionError("the mail does not leave")


def sign_in(client: Client) -> str:
    found = login.sync(client=client, body=LoginFormParams(username=EMAIL, password=PASSWORD))
    assert isinstance(found, LoginOut), found
    return str(found.access_token)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
