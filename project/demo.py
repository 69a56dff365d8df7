"""A playground: people, flags with history and usage, mails in every state; all of it marked, so that it goes again.

People have addresses of `demo.example` (a name that RFC 2606 keeps free), flags names that begin with FF_DEMO_,
segments and tags with `demo-`. No one of them can sign in, and nothing is sent to them.
"""

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision, FlagSeen, FlagUsage, Segment, Tag, UnknownFlag
from feature_flags.services import editing, segments, storage
from lib import encryption
from lib.actors import Actor
from notifications import registry
from notifications.models import (
    Announcement,
    Attempt,
    DeliveryEvent,
    Message,
    MessageCount,
    Suppression,
    WebhookEndpoint,
)
from notifications.services import announcements, endpoints
from notifications.services.periodic_jobs import count_messages
from users.models import AuditEvent, SignInCount, User, UserSession
from users.services import audit

DOMAIN, FLAG, MARK = "demo.example", "FF_DEMO_", "demo-"
PEOPLE, DAYS = 60, 30
_FIRST = [
    "Ada",
    "Grace",
    "Linus",
    "Ilva",
    "Rosa",
    "Chidi",
    "Mei",
    "Søren",
    "Jürgen",
    "Anaïs",
    "Katarzyna",
    "Edsger",
    "Barbara",
    "Margaret",
    "Noor",
    "Tove",
]
_LAST = [
    "Lovelace",
    "Hopper",
    "Okafor",
    "Müller",
    "Sørensen",
    "Nguyen",
    "García",
    "Li",
    "Brown",
    "Ito",
    "Novak",
    "Haddad",
    "Silva",
    "Kowalska",
    "Berg",
]
_PROGRAMS = ("Firefox on Linux", "Safari on iPhone", "Chrome on Windows", "Edge on Windows", "curl/8.9")
_FEATURES = {
    "release": "CHECKOUT_V2 NEW_NAVIGATION DARK_MODE FAST_SEARCH INVITES PASSKEYS BULK_EDIT SAVED_CARTS MAPS GIFT_CARDS"
    " LIVE_CHAT EXPORT_PDF TWO_COLUMNS WISHLIST REFUNDS_SELF_SERVICE REVIEWS",
    "experiment": "PRICE_PAGE ONBOARDING_STEPS BUTTON_COLOUR FREE_SHIPPING RANKING TRIAL_LENGTH",
    "operational": "CACHE_WARMUP NEW_QUEUE READ_REPLICA BATCH_MAILS IMAGE_PROXY RATE_LIMITS",
    "kill_switch": "PAYMENTS SIGN_UPS UPLOADS RECOMMENDATIONS",
    "permission": "BETA_GROUP ADMIN_REPORTS PARTNER_API AUDIT_VIEW PRIORITY_SUPPORT SANDBOX INVOICES TEAM_SEATS",
}
_PARTS = ("web", "mobile", "backend")
_OWNERS = ("Checkout", "Growth", "Platform", "Support")
#: The types of mail that say something without a code or a link.
_TYPES = ("users.welcome", "users.new_sign_in", "users.password_changed", "notifications.announcement")
_NEWS = {"title": "Maintenance on Sunday", "body": "We move to new machines."}
_LABEL = "command:demo"
_ENDS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("sent", 60, {"provider": "email", "attempts": 1}),
    ("queued", 8, {}),
    (
        "failed",
        6,
        {"attempts": 1, "last_code": "550", "last_error": "550 5.1.1 No such user here", "reason": "refused"},
    ),
    ("sending", 1, {"attempts": 1}),
    ("unknown", 2, {"attempts": 1, "reason": "interrupted", "last_error": "The worker died while sending."}),
    ("cancelled", 3, {"reason": "cancelled"}),
    ("suppressed", 3, {"reason": "suppressed"}),
    ("expired", 2, {"attempts": 8, "last_code": "451", "last_error": "451 4.7.1 Try again later"}),
)


def is_filled() -> bool:
    return bool(_people().exists())


@transaction.atomic
def fill(*, actor: Actor) -> dict[str, int]:
    """Make the playground, the same one each time; return how much of what."""
    chance, now = random.Random(7), timezone.now()  # noqa: S311  (no secret)
    people = list(_make_people(chance, now, actor))
    User.objects.bulk_create(people)
    _make_sign_ins(people, chance, now)
    flags = _make_flags(people, chance, now, actor)
    mails = _make_mails(people, chance, now)
    _make_announcements(people, now)
    _make_endpoint(now)
    _count_hours(now)
    return {"people": len(people), "flags": len(flags), "mails": mails}


def _make_people(chance: random.Random, now: datetime, actor: Actor) -> Iterator[User]:
    for number in range(PEOPLE):
        first, last = chance.choice(_FIRST), chance.choice(_LAST)
        since = now - timedelta(days=chance.randint(1, 400), minutes=chance.randint(0, 1_440))
        user = User(
            email=f"{first}.{last}.{number}@{DOMAIN}".lower(),
            first_name=first,
            last_name=last,
            created_at=since,
            created_by=actor.label,  # of no registration, which would go when it is not verified
            email_verified_at=since + timedelta(minutes=4) if number % 10 else None,
            last_login=now - timedelta(hours=chance.randint(1, 700)) if number % 6 else None,
            language=chance.choice(("en", "de")),
        )
        user.set_unusable_password()
        if number % 15 == 1:
            user.is_active, user.deactivated_at = False, now - timedelta(days=3)
            user.deactivated_reason = "asked for by their company"
        yield user


def _make_sign_ins(people: list[User], chance: random.Random, now: datetime) -> None:
    sessions, events = [], []
    for user in people:
        for _number in range(chance.randint(1, 6)):
            at = now - timedelta(minutes=chance.randint(5, DAYS * 1_440))
            ip, program = f"203.0.113.{chance.randint(1, 254)}", chance.choice(_PROGRAMS)
            is_ok = user.is_active and chance.random() < 0.8
            events.append(
                AuditEvent(
                    at=at,
                    event="login.ok" if is_ok else "login.failed",
                    outcome=AuditEvent.Outcome.OK if is_ok else AuditEvent.Outcome.FAILED,
                    user_id=user.pk,
                    subject_mac=audit.subject(user.email),
                    actor=user.pk.hex,
                    door="api",
                    ip=ip,
                    user_agent=program,
                    data={} if is_ok else {"why": "password"},
                )
            )
            if is_ok and at > now - timedelta(days=7):
                sessions.append(
                    UserSession(
                        user=user,
                        kind=UserSession.Kind.API,
                        label=program,
                        ip=ip,
                        network=ip.rpartition(".")[0] + ".0/24",
                        user_agent=program,
                        amr=["pwd"],
                        created_at=at,
                        last_seen_at=at + timedelta(minutes=30),
                        auth_at=at,
                        expires_at=at + timedelta(days=30),
                    )
                )
    # The audit log is read in the order of its ids.
    AuditEvent.objects.bulk_create(sorted(events, key=lambda event: event.at))
    UserSession.objects.bulk_create(sessions)


# --- Flags ------------------------------------------------------------------------------------------------------------


def _make_flags(people: list[User], chance: random.Random, now: datetime, actor: Actor) -> list[FeatureFlag]:
    staff = [Actor("admin", user) for user in people[2:6]]
    segments.create_segment(
        f"{MARK}germany",
        description="People in Germany",
        constraints=[{"field": "country", "operator": "IN", "values": ["DE"]}],
        actor=actor,
    )
    flags = []
    for kind, names in _FEATURES.items():
        for name in names.split():
            flag = editing.create(FLAG + name, actor=chance.choice(staff), **_members(kind, name, chance))
            for on in (True, False, True)[: chance.randint(0, 3)]:
                editing.switch(flag, on=on, actor=chance.choice(staff), reason="Tried in the demo.")
            flags.append(flag)
    # Its history over the last month, in the order in which it was written.
    made = Q(codename__startswith=FLAG) | Q(codename__startswith=MARK)
    revisions = FlagRevision.objects.filter(made, at__gte=now).order_by("pk")
    moments = sorted(now - timedelta(minutes=chance.randint(10, DAYS * 1_440)) for _revision in revisions)
    for revision, at in zip(revisions, moments, strict=True):
        FlagRevision._base_manager.filter(pk=revision.pk).update(at=at)
    _make_usage(flags, chance, now)
    return flags


def _members(kind: str, name: str, chance: random.Random) -> dict[str, Any]:
    members: dict[str, Any] = {
        "kind": kind,
        "label": name.replace("_", " ").capitalize(),
        "owner": chance.choice(_OWNERS),
        "tags": [f"{MARK}{chance.choice(_PARTS)}"],
        "rollout_percent": chance.choice((100, 100, 50, 25, 5)),
    }
    if kind == "experiment":
        members["variants"] = [{"name": "control", "weight": 500}, {"name": "treatment", "weight": 500}]
    elif kind == "permission":
        domain = {"field": "emailDomain", "operator": "IN", "values": [DOMAIN]}
        members["rules"] = [
            {"label": "Our own people", "constraints": [domain]},
            {"label": "A tenth of Germany", "segments": [f"{MARK}germany"], "rollout_percent": 10},
        ]
    return members


def _make_usage(flags: list[FeatureFlag], chance: random.Random, now: datetime) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    used = [flag for flag in flags if chance.random() < 0.8]
    rows = []
    for flag in used:
        variants = [variant["name"] for variant in flag.document["variants"]]
        for back in range(7 * 24):
            asked = chance.randint(20, 400)
            yes = round(asked * flag.document["rollout_percent"] / 100) if flag.is_active else 0
            at = hour - timedelta(hours=back)
            rows.append(FlagUsage(codename=flag.codename, hour=at, app_name="demo-web", yes=yes, no=asked - yes))
            for variant in variants if yes else ():
                share = yes // len(variants)
                rows.append(FlagUsage(codename=flag.codename, hour=at, app_name="demo-web", variant=variant, yes=share))
    FlagUsage.objects.bulk_create(rows, batch_size=500)
    FlagSeen.objects.bulk_create(
        FlagSeen(codename=flag.codename, first_seen_at=now - timedelta(days=DAYS), last_seen_at=now) for flag in used
    )
    UnknownFlag.objects.create(codename=f"{FLAG}FORGOTTEN", app_name="demo-web", count=212)


# --- Mail -------------------------------------------------------------------------------------------------------------


def _make_mails(people: list[User], chance: random.Random, now: datetime) -> int:
    kinds = [registry.get(code) for code in _TYPES]
    made = 0
    for state, count, values in _ENDS:
        for _number in range(count):
            user, kind = chance.choice(people), chance.choice(kinds)
            at = now - timedelta(minutes=chance.randint(5, 7 * 1_440))
            is_open = state in Message.OPEN
            message = Message.objects.create(
                type=kind.code,
                category=kind.category,
                language=user.language,
                context=_context(kind.code, user, at),
                user=user,
                to_address=user.email,
                to_name=user.get_full_name(),
                message_id=f"<{uuid.uuid4().hex}@{DOMAIN}>",
                priority=kind.priority,
                max_attempts=8,
                created_at=at,
                state=state,
                # Far off: a demo sends nothing.
                due_at=now + timedelta(days=365) if is_open else None,
                expires_at=now + timedelta(days=366) if is_open else at + timedelta(seconds=9),
                lease_token=uuid.uuid4() if state == "sending" else None,
                lease_owner="demo" if state == "sending" else "",
                finished_at=None if is_open else at + timedelta(seconds=9),
                sent_at=at + timedelta(seconds=9) if state == "sent" else None,
                **values,
            )
            if message.attempts:
                _make_attempt(message, at)
            made += 1
    bounced = Message.objects.filter(to_address__endswith=DOMAIN, state="sent").first()
    if bounced:
        Message.objects.filter(pk=bounced.pk).update(delivery_state="bounced")
        DeliveryEvent.objects.create(
            provider="email",
            event_id=f"{MARK}{bounced.uid}",
            message=bounced,
            kind="bounced",
            recipient=bounced.to_address,
            at=now,
            detail="550 5.1.1 No such user here",
        )
        Suppression.objects.create(address=bounced.to_address, scope="all", reason="bounce", source="demo")
    return made


def _make_announcements(people: list[User], now: datetime) -> None:
    """One that is done, by mail, and a draft, which leads to no mail."""
    words = {"en": _NEWS, "de": {"title": "Wartung am Sonntag", "body": "Wir ziehen auf neue Maschinen um."}}
    done = Announcement.objects.create(
        words=words,
        channels=["email"],
        audience="everybody",
        audience_label="Everybody",
        state=Announcement.State.DONE,
        created_by=_LABEL,
        updated_by=_LABEL,
        started_by=_LABEL,
        **dict.fromkeys(("created_at", "updated_at", "counted_at", "started_at"), now - timedelta(days=7)),
        **dict.fromkeys(("written_at", "finished_at"), now - timedelta(days=6)),
    )
    sent = Message.objects.filter(type="notifications.announcement", user__in=people).exclude(state__in=Message.OPEN)
    sent.update(announcement=done)
    states = sent.order_by().values_list("state").annotate(n=Count("pk"))
    done.delivery = dict(states)
    done.counts = done.expected = {"people": sum(done.delivery.values()), "mails": sum(done.delivery.values())}
    done.save()
    announcements.save(
        Announcement(),
        words=words,
        channels=["in_app"],
        audience="people",
        people=people[:12],
        actor=Actor.command("demo"),
    )


def _make_endpoint(now: datetime) -> None:
    """One of webhooks, paused."""
    by = dict.fromkeys(("created_by", "updated_by", "paused_by"), _LABEL)
    WebhookEndpoint.objects.create(
        name=f"{MARK}crm",
        url=f"https://crm.{DOMAIN}/webhooks",
        events=["flag.switched", "user.deactivated", "user.deleted"],
        secret=encryption.encrypt(endpoints.new_secret()),
        paused_at=now,
        paused_reason="an example",
        **by,
    )


def _context(code: str, user: User, at: datetime) -> dict[str, Any]:
    if code == "notifications.announcement":
        return {**_NEWS, "url": "", "severity": "info"}
    about: dict[str, Any] = {"first_name": user.first_name}
    if code == "users.new_sign_in":
        about |= {"program": _PROGRAMS[0], "ip": "203.0.113.7", "at": at.isoformat()}
    elif code == "users.password_changed":
        about |= {"at": at.isoformat(), "by_staff": False}
    return about


def _make_attempt(message: Message, at: datetime) -> None:
    outcomes = {"sent": "accepted", "failed": "permanent", "expired": "temporary", "sending": "interrupted"}
    Attempt.objects.create(
        message=message,
        n=message.attempts,
        worker="demo",
        provider="email",
        created_at=at + timedelta(seconds=8),
        duration_ms=140,
        outcome=outcomes.get(message.state, "ambiguous"),
        code=message.last_code or "250",
        response=message.last_error or "250 2.0.0 Ok: queued",
    )


# --- And away with it -------------------------------------------------------------------------------------------------


def _people() -> Any:
    return User.objects.filter(email__endswith=f"@{DOMAIN}", created_by=_LABEL)


@transaction.atomic
def remove() -> bool:
    """Delete all of the playground and what was done with it since; return whether there was one.

    That is what `fill` made, by who made it: no row of another origin that is merely named alike.
    """
    was_filled = is_filled()
    people = _people()
    keys, addresses = list(people.values_list("pk", flat=True)), list(people.values_list("email", flat=True))
    labels = [key.hex for key in keys]
    flags, segments_made = FeatureFlag.objects.filter(created_by__in=labels), Segment.objects.filter(created_by=_LABEL)
    names = [*flags.values_list("codename", flat=True), *segments_made.values_list("name", flat=True)]
    messages = Message.objects.filter(Q(user__in=keys) | Q(to_address__in=addresses))
    hooks = WebhookEndpoint.objects.filter(created_by=_LABEL)
    made: tuple[Any, ...] = (people, flags, messages, hooks)
    for rows in made:
        texts = [str(pk) for pk in rows.values_list("pk", flat=True)]
        content_type = ContentType.objects.get_for_model(rows.model)
        LogEntry.objects.filter(content_type=content_type, object_id__in=texts).delete()
    LogEntry.objects.filter(user__in=keys).delete()
    DeliveryEvent.objects.filter(Q(message__in=messages) | Q(recipient__in=addresses)).delete()
    Suppression.objects.filter(address__in=addresses).delete()
    messages.delete()
    Announcement.objects.filter(created_by=_LABEL).delete()
    hooks.delete()
    for model in (FlagUsage, FlagSeen):
        model._default_manager.filter(codename__in=names).delete()
    UnknownFlag.objects.filter(codename=f"{FLAG}FORGOTTEN", app_name="demo-web").delete()
    FlagRevision._base_manager.filter(Q(flag__in=flags) | Q(segment__in=segments_made) | Q(actor__in=keys)).delete()
    flags.delete()
    segments_made.delete()
    Tag.objects.filter(name__in=[MARK + part for part in _PARTS], flags=None).delete()
    with audit.purging():
        AuditEvent._base_manager.filter(Q(user_id__in=keys) | Q(actor__in=labels)).delete()
    people.delete()
    storage.publish(everything=True)
    _count_hours(timezone.now())
    return was_filled


def _count_hours(now: datetime) -> None:
    """What the pictures of the overview show, anew."""
    for model, count in ((SignInCount, audit.count_sign_ins), (MessageCount, count_messages)):
        model._default_manager.all().delete()
        for _rows in count(now):
            pass
