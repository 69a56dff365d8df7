"""What staff may change, by which door, and what it takes: the table of docs/operating.md is the code's."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import URLPattern
from django.utils import timezone

from feature_flags.models import FlagRevision, FlagToken
from feature_flags.services import editing, segments, tokens
from feature_flags.tests.factories import COMMAND
from lib.actors import Actor
from notifications.models import Announcement, PeriodicJob, Suppression, TemplateOverride
from notifications.services import announcements, overrides
from notifications.services.recipients import suppress
from notifications.staff_api import announcements as announcements_api
from notifications.staff_api import messages, recipients, templates, webhooks
from notifications.tests.factories import MessageFactory
from users.audit_events import EVENTS
from users.middleware import SESSION_KEY
from users.models import AuditEvent, UserSession
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ROW = re.compile(r"^\| `([^`]+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
#: They show something, or lead to a page; a POST to them changes nothing that lasts.
SHOW = {
    *("changelist", "history", "index", "autocomplete", "jsi18n", "app_list", "password_change_done", "csv", ""),
    *("featureflag_who", "message_body", "templateoverride_frame", "activity", "find", "user_why"),
    *("announcement_preview", "announcement_frame"),
}
#: What everybody does with their own account; docs/operating.md, "Staff sign-in".
OWN = {
    *("login", "logout", "login_code", "login_passkey", "login_code_passkey", "enrol", "enrol_factor", "enrol_passkey"),
    *("enrol_password", "password_change", "reauthenticate", "reauthenticate_passkey", "second_factor"),
    *("second_factor_app", "second_factor_passkey", "second_factor_codes", "second_factor_remove"),
    # How lists are looked at, and a press that is sent again.
    *("save_view", "remove_view", "carry_on", "language"),
}
MINE = "clerk@example.org"


def table():
    text = (Path(settings.BASE_DIR) / "docs" / "operating.md").read_text()
    part = text.split("## What staff change", 1)[1].split("\n## ", 1)[0]
    return {row[0]: row[1:] for row in ROW.findall(part)}


def names(patterns):
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            yield pattern.name or ""
        else:
            yield from names(pattern.url_patterns)


def doors(request):
    """`app.model verb` of whatever a superuser can press, save or send."""
    found, standard = set(), set()
    for model, pages in admin.site._registry.items():
        label, prefix = model._meta.label_lower, f"{model._meta.app_label}_{model._meta.model_name}_"
        for verb in getattr(pages, "verbs", ()):
            found.add(f"{label} {verb.name}")
            standard.add(f"{prefix}verb_{verb.slug}")
        slugs = {verb.slug for verb in getattr(pages, "verbs", ())}
        found |= {f"{label} {action}" for action in pages.get_actions(request) if action not in slugs}
        for name in ("add", "change", "delete"):
            standard.add(prefix + name)
            if getattr(pages, f"has_{name}_permission")(request):
                found.add(f"{label} {name}")
        own = {name.removeprefix(prefix) for name in names(pages.get_urls()) if name.startswith(prefix)}
        found |= {
            f"{label} {name}"
            for name in own
            if prefix + name not in standard and name not in SHOW and f"{model._meta.model_name}_{name}" not in SHOW
        }
    of_models = {name for pages in admin.site._registry.values() for name in names(pages.get_urls())}
    found |= {f"site {name}" for name in set(names(admin.site.get_urls())) - of_models - SHOW - OWN}
    # Words are changed on the page of a type; the form of a row only leads there.
    return found - {"notifications.templateoverride change"}


def calls():
    """Of notifications: what its routers for staff change."""
    for each in (announcements_api, messages, recipients, templates, webhooks):
        for path, view in each.router.path_operations.items():
            for operation in view.operations:
                names = (f"{method} {path}" for method in operation.methods if method != "GET")
                yield from (name for name in names if not name.endswith("/preview"))


def test_every_change_is_in_the_table(rf, superuser):
    request = rf.get("/")
    request.user = superuser

    assert set(table()) == doors(request) | set(calls())


def test_the_table_says_what_the_buttons_ask():
    rows = table()
    for model, pages in admin.site._registry.items():
        for verb in getattr(pages, "verbs", ()):
            needs, proof, reason, record = rows[f"{model._meta.label_lower} {verb.name}"]
            assert f"`{verb.permission}`" in needs
            assert proof == ("yes" if verb.sensitive else "no"), verb.name
            asks = "protected" if callable(verb.asks_reason) or callable(verb.reason_required) else "may"
            asks = "yes" if verb.asks_reason is True and verb.reason_required is True else asks
            assert reason == (asks if verb.asks_reason else "no"), verb.name
            assert not verb.audit_event or record == f"`{verb.audit_event}`"
    events = {record.strip("`") for *_, record in rows.values() if record.startswith("`")}
    assert events <= set(EVENTS)


# --- What is sensitive waits for a fresh proof and leaves an event ----------------------------------------------------

WELCOME = "/admin/notifications/templateoverride/of/users.welcome/en/"


def saved_words():
    overrides.save(_kind(), language="en", bodies={"subject": "Hi"}, actor=Actor.command("tests"))


def _kind():
    from notifications import registry

    return registry.get("users.welcome")


def words(client):
    form = client.get(WELCOME).context["form"]
    return {name: form.initial.get(name) or "" for name in form.fields} | {"subject": "Hello!", "note": "Nicer"}


def token():
    return tokens.create_token("shop", kind="server", **COMMAND)[0]


def listed():
    suppress("away@example.org", scope="all", reason="staff", source="x")
    return Suppression.objects.get()


def news():
    words = {"en": {"title": "T", "body": "B"}}
    given = {"words": words, "channels": ["email"], "audience": "people", "people": [UserFactory.create()]}
    return announcements.save(Announcement(), **given, actor=Actor.command("tests"))


def switched(client):
    flag = editing.create("FF_A", **COMMAND)
    return {"action": "export_json", "_selected_action": [flag.pk], "index": "0"}


REASON = {"reason": "Because"}
SENSITIVE = {
    "template.saved": lambda client: (WELCOME, words(client), TemplateOverride),
    "template.restored": lambda client: (saved_words(), (f"{WELCOME}use/subject/file/", {"note": "Back"}, None))[1],
    "announcement.sent": lambda client: (
        f"/admin/notifications/announcement/{news().pk}/send/",
        {"version": "1"},
        PeriodicJob,
    ),
    "suppression.added": lambda client: (
        "/admin/notifications/suppression/add/",
        {"address": "away@example.org", "scope": "all", **REASON},
        Suppression,
    ),
    "suppression.lifted": lambda client: (f"/admin/notifications/suppression/{listed().pk}/lift/", REASON, None),
    "provider.paused": lambda client: ("/admin/notifications/providerstate/email/pause/", REASON, None),
    "flags.exported": lambda client: ("/admin/feature_flags/featureflag/", switched(client), None),
    "flag_token.created": lambda client: (
        "/admin/feature_flags/flagtoken/add/",
        {"name": "shop", "kind": "server", "allowed_origins": "", "expires_at": "", **REASON},
        FlagToken,
    ),
    "flag_token.revoked": lambda client: (f"/admin/feature_flags/flagtoken/{token().pk}/revoke/", REASON, None),
}


def age(client, hours=3):
    """The proof of this session was given so long ago."""
    session = UserSession.objects.filter(pk=client.session[SESSION_KEY])
    session.update(auth_at=timezone.now() - timedelta(hours=hours))


@pytest.mark.parametrize("event", SENSITIVE)
def test_a_sensitive_change_waits_for_a_fresh_proof_and_is_on_record(staff_client, superuser, event):
    path, body, model = SENSITIVE[event](staff_client)
    age(staff_client)

    refused = staff_client.post(path, body)

    assert "/admin/reauthenticate/" in refused.headers.get("Location", "") + refused.content.decode()
    assert not AuditEvent.objects.filter(event=event).exists()
    assert model is None or not model.objects.exists()

    age(staff_client, hours=0)
    done = staff_client.post(path, body)
    assert done.status_code in (200, 302), done.content
    row = AuditEvent.objects.get(event=event)
    assert (row.actor, row.door, row.outcome) == (superuser.pk.hex, "admin", "ok")
    assert model is None or model.objects.exists()


def test_what_was_typed_stays_while_the_proof_is_given(staff_client):
    body = words(staff_client)
    age(staff_client)

    page = staff_client.post(WELCOME, body).content.decode()

    assert "Hello!" in page
    assert f'href="/admin/reauthenticate/?next={WELCOME.replace("/", "%2F")}"' in page.replace("&amp;", "&")


@pytest.mark.parametrize("verb", ["retry", "cancel", "resend"])
def test_what_is_done_to_a_message_is_on_record(staff_client, verb):
    state = {"retry": {"finished": True, "state": "failed"}, "cancel": {}, "resend": {"finished": True}}[verb]
    message = MessageFactory.create(type="users.welcome", context={"first_name": "Ada"}, **state)

    staff_client.post(f"/admin/notifications/message/{message.pk}/{verb}/", REASON)

    event = {"retry": "message.retried", "cancel": "message.cancelled", "resend": "message.resent"}[verb]
    assert AuditEvent.objects.get(event=event).data == {"kind": "users.welcome", "reason": "Because"}


def admin_member():
    """Of the group Admin, which may do everything but give rights."""
    user = UserFactory.create(staff=True, email=MINE)
    user.groups.add(Group.objects.get(name="Admin"))
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="notifications"))
    client = Client()
    client.force_login(user)
    return client


def test_only_superusers_write_a_mail_with_a_code_or_link():
    client, secret = admin_member(), "/admin/notifications/templateoverride/of/users.forgot_password/en/"
    form = client.get(secret).context["form"]
    body = {name: form.initial.get(name) or "" for name in form.fields} | {"subject": "Hello!", "note": "Nicer"}

    assert client.post(secret, body).status_code == 403
    assert client.post(f"{secret}use/text/file/", {"note": "x"}).status_code == 403
    assert "Only superusers write" in client.get(secret).content.decode()
    assert client.post(WELCOME, words(client)).status_code == 302
    assert list(TemplateOverride.objects.values_list("type", flat=True)) == ["users.welcome"]


@pytest.mark.parametrize("note", ["", "  "])
def test_words_change_for_a_reason(staff_client, note):
    assert staff_client.post(WELCOME, {**words(staff_client), "note": note}).context["form"].errors["note"]
    assert not TemplateOverride.objects.exists()


def test_the_history_of_flags_names_whoever_changed_a_segment(staff_client, superuser):
    segments.create_segment("Invited", actor=Actor("admin", superuser))

    assert FlagRevision.objects.get(subject="segment").actor == superuser


@pytest.mark.parametrize("step", ["save", "use"])
def test_words_wait_for_a_fresh_proof(staff_client, step):
    form = staff_client.get(WELCOME).context["words_form"]
    body = {**form.initial, "words": "Hello!", "note": "Nicer"}
    if step == "use":
        staff_client.post(WELCOME, body)
        body = {"note": "Back"}
    age(staff_client)
    before = list(TemplateOverride.objects.values_list("active", flat=True))

    page = staff_client.post(WELCOME if step == "save" else f"{WELCOME}use/all/file/", body).content.decode()

    assert "/admin/reauthenticate/" in page
    assert step == "use" or "Hello!" in page
    assert list(TemplateOverride.objects.values_list("active", flat=True)) == before
