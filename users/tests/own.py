"""What the tests of one's own account share."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import unquote

from django.db import connection
from django.utils import timezone

from users.models import AuditEvent, UserSession


def token_in(mail):
    """The token of the link in a mail."""
    return unquote(re.search(r"token=([\w%.~-]+)", mail.body).group(1))


def age_proof(seconds=601):
    """As if everybody had last proved who they are so many seconds ago."""
    UserSession.objects.update(auth_at=timezone.now() - timedelta(seconds=seconds))


def recorded(name, **where):
    return AuditEvent.objects.get(event=name, **where)


def at_once(calls):
    """The answers to calls made by as many threads, each with a connection of its own."""

    def run(call):
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def code_of(response):
    """Status, error code and slug of a refusal."""
    body = response.json()
    detail = body["detail"]
    return response.status_code, detail["code"] if isinstance(detail, dict) else detail, body["code"]


def sign_in_elsewhere(api, user, **headers):
    """A second session of the same person: its access and refresh token."""
    answer = api.login_form(user.email, **headers)
    assert answer.status_code == 200, answer.content
    return answer.json()
