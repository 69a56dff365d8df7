"""No password and no token of one's own account rests in the outbox, the audit trail, a session or the log."""

import logging

import pytest

from notifications.models import Attempt, Message
from users.models import AuditEvent, OneTimeToken, User, UserSession
from users.tests.factories import PASSWORD
from users.tests.own import token_in

pytestmark = pytest.mark.django_db

NEW, WRONG = "Another-Horse-8", "Wrong-Horse-7"


def test_after_all_of_it_no_secret_is_found(api, user, outbox, caplog):
    caplog.set_level(logging.DEBUG)
    made = api.log_in(user)
    with outbox() as mails:
        for current in (WRONG, PASSWORD):
            api.call("POST", "/auth/change-password", {"current_password": current, "new_password": NEW})
        api.call("POST", "/auth/change-email", {"email": "new@example.net"})
    confirm = token_in(mails[-1])
    with outbox() as mails:
        assert api.call("POST", "/auth/change-email/confirm", {"token": confirm}).status_code == 200
    undo = token_in(next(mail for mail in mails if mail.to == [user.email]))
    exported = api.call("GET", "/users/user/export").getvalue().decode()
    events = api.call("GET", "/users/security-events").content.decode()
    with outbox() as mails:
        assert api.call("DELETE", "/users/user").status_code == 202
    undelete = token_in(mails[0])
    assert api.call("POST", "/auth/change-email/undo", {"token": undo}).status_code == 200

    secrets = [PASSWORD, NEW, WRONG, confirm, undo, undelete, made["access_token"], made["refresh_token"]]
    models = (Message, Attempt, AuditEvent, OneTimeToken, UserSession, User)
    stored = "".join(str(list(model.objects.values())) for model in models)
    for place in (stored, caplog.text, exported, events):
        assert [secret for secret in secrets if secret in place] == []
