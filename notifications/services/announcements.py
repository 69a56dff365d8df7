"""Announcements: drafts, and the way to many people: slice by slice, each in one transaction with the cursor it moves.

Two workers at once, a crash or a restart neither leave anyone out nor reach anyone twice.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Count, F, Model, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext
from pydantic import ValidationError

from lib import logs, tracing
from lib.actors import Actor
from lib.addresses import normal_email
from lib.admin import may_see
from lib.background import log_failure
from lib.db import batches, insert_alike
from lib.errors import ProductError
from lib.text import number
from notifications import audiences, engine, metrics, registry
from notifications.models import (
    Announcement,
    InAppNotification,
    Message,
    Preference,
    Severity,
    Suppression,
    database_time,
    moment,
)
from notifications.registry import EMAIL, IN_APP, NotificationType
from notifications.rendering import engines, render
from notifications.services import outbox, recipients

if TYPE_CHECKING:
    from users.models import User

JOB = "notifications.announcements"
TYPE = "notifications.announcement"
#: People of one slice, and of those that a page waits for; the rest is counted in the background.
SLICE, AT_ONCE = 1_000, 2
PEOPLE_LIMIT = 10_000
TITLE_LIMIT, BODY_LIMIT = 150, 4_000
#: What is held back longer expires.
HELD_FOR = timedelta(days=30)

#: Who writes and sends them: an announcement is a row in both tables.
PERMISSIONS = ("notifications.add_inappnotification", "notifications.add_message")

State = Announcement.State
_WORDS = ("title", "body")
_HELD = Q(state=Message.State.QUEUED, due_at=F("expires_at"))


def kind() -> NotificationType:
    return registry.get(TYPE)


# --- Drafts -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def save(
    draft: Announcement,
    *,
    words: Mapping[str, Mapping[str, str]],
    channels: Sequence[str],
    audience: str,
    choice: str = "",
    people: Iterable[User] | None = None,
    url: str = "",
    severity: str = Severity.INFO,
    version: int | None = None,
    actor: Actor,
) -> Announcement:
    """Write a draft, a new one or this one as it was at `version`, and count whom it reaches.

    `words` are title and body by language. `people` are those of the audience `people`; None leaves them as they are.

    Raises:
        ANNOUNCEMENT_INVALID (400): it cannot be sent like this.
        ANNOUNCEMENT_STATE (409): it is no draft any more.
        ANNOUNCEMENT_CHANGED (409): it is no longer as it was at `version`.
    """
    if draft.pk:
        draft = _locked(draft)
        _require(draft, State.DRAFT)
        _require_version(draft, version)
        draft.version += 1
    else:
        draft.created_by = actor.label
    if not words or set(words) - set(engines.languages()):
        raise _invalid(gettext("It needs a title and a text in a language of the product."))
    if not channels or set(channels) - set(kind().channels):
        raise _invalid(gettext("It goes by mail, in the product, or both."))
    draft.words = {language: dict(given) for language, given in words.items()}
    draft.url, draft.severity, draft.channels = url, severity, sorted(channels)
    contexts = {language: context_of(draft, language) for language in words}
    draft.words = {language: {name: given[name] for name in _WORDS} for language, given in contexts.items()}
    try:
        found = audiences.get(audience)
        if choice not in dict(found.choices()):
            raise audiences.Gone(gettext("There is no such audience any more."))
    except audiences.Gone as gone:
        raise _invalid(str(gone)) from None
    draft.audience, draft.choice = audience, choice
    draft.updated_at, draft.updated_by = timezone.now(), actor.label
    if not draft.pk:
        draft.save()
    if audience != audiences.PEOPLE:
        draft.people.clear()
    elif people is not None:
        draft.people.set(people)
    with translation.override(settings.LANGUAGE_CODE):  # for all who read it
        draft.audience_label = found.describe(draft)[:300]
    _count_anew(draft)
    return draft


def count(draft: Announcement) -> None:
    """Count anew whom a draft reaches; a page that shows the older count sends no more.

    Raises: ANNOUNCEMENT_STATE (409).
    """
    with transaction.atomic():
        draft = _locked(draft)
        _require(draft, State.DRAFT)
        draft.version += 1
        _count_anew(draft)


def _count_anew(draft: Announcement) -> None:
    draft.cursor, draft.counts, draft.counted_at, draft.note = "", {}, None, ""
    draft.save()
    for _slice in range(AT_ONCE):
        if draft.counted_at is None:
            _next_slice(draft)
            draft.refresh_from_db()
    if draft.counted_at is None:
        engine.hasten(JOB)


def delete(draft: Announcement) -> None:
    """Raises: ANNOUNCEMENT_STATE (409) for one that was sent."""
    with transaction.atomic():
        draft = _locked(draft)
        _require(draft, State.DRAFT)
        draft.delete()


def named_people(addresses: str) -> list[User]:
    """The users with these addresses, which lines or commas part. Raises: ANNOUNCEMENT_PEOPLE (400)."""
    typed = sorted({normal_email(part) for part in addresses.replace(",", "\n").splitlines() if part.strip()})
    if not typed:
        raise _unknown_people(gettext("Name at least one person."))
    if len(typed) > PEOPLE_LIMIT:
        text = gettext("At most %(people_limit)s people can be named.")
        raise _unknown_people(text % {"people_limit": number(PEOPLE_LIMIT)})
    model = get_user_model()
    found: list[Any] = []
    for some in batches(typed):
        found += model._default_manager.filter(**{f"{model.USERNAME_FIELD}__in": some})
    if unknown := sorted(set(typed) - {person.get_username() for person in found}):
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise _unknown_people(gettext("There is no user %(shown)s.") % {"shown": shown})
    return found


def _unknown_people(message: str) -> ProductError:
    return ProductError("ANNOUNCEMENT_PEOPLE", message, reason=message)


def context_of(announcement: Announcement, language: str) -> dict[str, Any]:
    """What a message of it stores, for readers of this language. Raises: ANNOUNCEMENT_INVALID (400)."""
    given = {**announcement.read_in(language)[1], "url": announcement.url, "severity": announcement.severity}
    try:
        return kind().context.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        raise _invalid(gettext("It does not fit: %(value)s.") % {"value": registry.wrong_fields(error)}) from None


# --- Verbs ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def send(announcement: Announcement, *, version: int | None = None, actor: Actor) -> int:
    """Begin to send the draft as it was at `version`; return to how many people, 0 when it was sent before.

    Those who register later are not meant.

    Raises:
        ANNOUNCEMENT_STATE (409): it has been deleted.
        ANNOUNCEMENT_CHANGED (409): it is no longer as it was at `version`.
        ANNOUNCEMENT_NOT_COUNTED, ANNOUNCEMENT_EMPTY (409): its people are being counted, or there are none.
    """
    row = _locked(announcement)
    if row.state != State.DRAFT:
        return 0
    _require_version(row, version)
    if row.counted_at is None:
        raise ProductError("ANNOUNCEMENT_NOT_COUNTED", gettext("Its people are still being counted."), status=409)
    if not row.counts.get("people"):
        raise ProductError("ANNOUNCEMENT_EMPTY", row.note or gettext("There is no one to send it to."), status=409)
    row.expected, row.counts, row.cursor = row.counts, {}, ""
    row.state, row.started_at, row.started_by = State.SENDING, timezone.now(), actor.label
    row.save()
    engine.hasten(JOB)
    return int(row.expected["people"])


def pause(announcement: Announcement) -> bool:
    """Stop, and hold back what waits in the outbox; False when it is paused. Raises: ANNOUNCEMENT_STATE (409)."""
    return _become(announcement, State.PAUSED, since=(State.SENDING,))


def resume(announcement: Announcement) -> bool:
    """Go on where it was stopped; False when it is being sent. Raises: ANNOUNCEMENT_STATE (409)."""
    return _become(announcement, State.SENDING, since=(State.PAUSED,))


def cancel(announcement: Announcement) -> bool:
    """Stop for good, and cancel what waits; False when it is cancelled. Raises: ANNOUNCEMENT_STATE (409)."""
    return _become(announcement, State.CANCELLED, since=(State.SENDING, State.PAUSED), finished_at=timezone.now())


@transaction.atomic
def _become(announcement: Announcement, state: Announcement.State, *, since: tuple[str, ...], **more: Any) -> bool:
    row = _locked(announcement)
    if row.state == state:
        return False
    _require(row, *since)
    changed = {"state": state, "version": row.version + 1, "note": "", "is_settled": False, **more}
    Announcement.objects.filter(pk=row.pk).update(**changed)
    engine.hasten(JOB)
    return True


@transaction.atomic
def send_test(announcement: Announcement, *, user: User, language: str) -> None:
    """Send it to this user alone, in this language, over its channels.

    Raises: ANNOUNCEMENT_INVALID (400), ANNOUNCEMENT_TEST (409).
    """
    language = announcement.read_in(language)[0]
    context = context_of(announcement, language)
    with translation.override(language):
        context["title"] = f"[{gettext('Test')}] {context['title']}"[:TITLE_LIMIT]
    alone = _Slice(announcement, {language: context}, [user], reads=language)
    if not alone.reached:
        raise ProductError("ANNOUNCEMENT_TEST", gettext("Your own address is not verified."), status=409)
    if reason := alone.refused.get(user.pk) or ("preference" if user.pk in alone.off else ""):
        text = gettext("You have had enough of these for now; try again later.")
        if reason != "throttled":
            text = gettext("You do not get announcements yourself (%(reason)s).") % {"reason": reason}
        raise ProductError("ANNOUNCEMENT_TEST", text, status=409)
    alone.write(key="")


def _locked(announcement: Announcement) -> Announcement:
    try:
        return Announcement.objects.select_for_update(no_key=True).get(pk=announcement.pk)
    except Announcement.DoesNotExist:
        raise ProductError("ANNOUNCEMENT_STATE", gettext("It has been deleted."), status=409) from None


def _require(announcement: Announcement, *states: str) -> None:
    if announcement.state not in states:
        label = announcement.get_state_display().lower()
        raise ProductError(
            "ANNOUNCEMENT_STATE",
            gettext("It is %(label)s: this is not possible any more.") % {"label": label},
            status=409,
        )


def _require_version(draft: Announcement, version: int | None) -> None:
    if version is not None and version != draft.version:
        text = gettext("It was changed since you looked at it: look at it once more.")
        raise ProductError("ANNOUNCEMENT_CHANGED", text, status=409)


def _invalid(message: str) -> ProductError:
    return ProductError("ANNOUNCEMENT_INVALID", message, reason=message)


# --- Reading ----------------------------------------------------------------------------------------------------------


def shown_audience(row: Announcement, user: Any) -> str:
    """In words; of one that this member of staff may not look into, only its kind."""
    try:
        audience = audiences.get(row.audience)
    except audiences.Gone as gone:
        return str(gone)
    is_all = not row.choice and row.audience != audiences.PEOPLE
    return str(audience.label) if is_all or not audiences.is_visible_to(user, row.audience) else row.audience_label


def left_out(row: Announcement, user: Any) -> dict[str, int]:
    """How many do not get it, by reason. What this member of staff may not look up is one sum, `hidden`: of a single
    address, a count by reason would tell it."""
    people = get_user_model()
    reasons: dict[str, type[Model]] = {
        "unsubscribed": Preference,
        "suppressed": Suppression,
        "throttled": Message,
        "switched_off": Preference,
        "unverified": people,
        "inactive": people,
    }
    found: Counter[str] = Counter()
    for name, model in reasons.items():
        found[name if may_see(user, model) else "hidden"] += row.counts.get(name, 0)
    return {name: count for name, count in found.items() if count}


def look_at_delivery(row: Announcement) -> None:
    """Bring `delivery` up to date where that is quick; of larger ones the workers do."""
    if row.state == State.SENDING and row.written_at and row.counts.get("people", 0) <= SLICE:
        row.delivery = _delivery(row)


# --- The work in the background ---------------------------------------------------------------------------------------


def work() -> Iterator[tuple[str, int]]:
    """Count drafts and send what is to be sent, a slice of each in turn; yields what and how many."""
    seen: set[int] = set()
    is_open = Q(state=State.SENDING) | Q(is_settled=False) | Q(state=State.DRAFT, counted_at=None)
    unfinished = Announcement.objects.filter(is_open).order_by("pk").values_list("pk", flat=True)
    while pks := [pk for pk in unfinished.all() if pk not in seen]:
        seen.update(pks)
        waiting = deque(map(_slices, pks))
        while waiting:
            slices = waiting.popleft()
            if (looked := next(slices, None)) is not None:
                waiting.append(slices)
                yield "people and messages", looked


def _slices(pk: int) -> Iterator[int]:
    """What there is to do for one announcement, a transaction at a time; yields how many people or messages."""
    row: Announcement | None = None
    try:
        while (row := Announcement.objects.filter(pk=pk).first()) is not None:
            if not row.is_settled:
                yield from _settle(row)
                if not Announcement.objects.filter(pk=pk, is_settled=True).exists():
                    return
            elif row.state == State.SENDING and row.written_at:
                delivery = _delivery(row)
                done = {} if set(delivery) & set(Message.OPEN) else {"state": State.DONE, "finished_at": timezone.now()}
                _unchanged(row).update(delivery=delivery, **done)
                return
            elif row.state == State.SENDING or (row.state == State.DRAFT and not row.counted_at):
                if (looked := _next_slice(row)) is None:
                    return
                yield looked
            else:
                return
    except (DatabaseError, InterfaceError):
        # The job runs once more soon.
        raise
    except Exception as error:
        # A template that staff broke, or a flag: the others go on.
        log_failure("announcement", error)
        if row is not None:
            _stop(row, f"Stopped by an error ({type(error).__name__}).")


def _stop(row: Announcement, note: str) -> None:
    """Pause what is being sent, or end the counting of a draft, and say why."""
    if row.state == State.DRAFT:
        _unchanged(row).update(note=note[:200], counted_at=timezone.now(), counts={})
    else:
        _unchanged(row).update(note=note[:200], state=State.PAUSED, is_settled=False)


def _unchanged(row: Announcement) -> QuerySet[Announcement]:
    """The row, unless staff have changed it, or what is to become of it, since it was read."""
    return Announcement.objects.filter(pk=row.pk, state=row.state, version=row.version)


def _next_slice(row: Announcement) -> int | None:
    """Look at the next people: count them and, unless it is a draft, write to them; None when there are no more."""
    everyone = get_user_model()._default_manager.order_by("pk")
    if row.cursor:
        everyone = everyone.filter(pk__gt=row.cursor)
    if row.started_at:
        everyone = everyone.filter(created_at__lte=row.started_at)
    try:
        audience = audiences.get(row.audience)
        test = audience.test(row)
        people: list[Any] = list(audience.among(everyone, row)[:SLICE])
    except audiences.Gone as gone:
        _stop(row, str(gone))
        return None
    contexts = {language: context_of(row, language) for language in row.words}
    chosen = _Slice(row, contexts, [person for person in people if test(person)])
    counts = Counter(row.counts) + chosen.counts() + Counter(looked=len(people))
    is_last = len(people) < SLICE
    moved: dict[str, Any] = {"counts": dict(counts), "cursor": str(people[-1].pk) if people else row.cursor}
    if is_last:
        moved["counted_at" if row.state == State.DRAFT else "written_at"] = timezone.now()
    mine = _unchanged(row).filter(cursor=row.cursor, written_at=None)
    with transaction.atomic():
        # First of all: another worker with the same slice waits here, and then finds the cursor moved.
        if mine.update(**moved) and row.state == State.SENDING:
            chosen.write(key=f"{TYPE}:{row.pk}")
    return None if is_last and row.state == State.DRAFT else len(people)


@dataclass
class _Slice:
    """Some of the people of an announcement, what is written to them by language, and who is left out of what."""

    announcement: Announcement
    contexts: dict[str, dict[str, Any]]
    people: list[User]
    #: The language that all of them read, for once.
    reads: str = ""

    def __post_init__(self) -> None:
        self.unreachable = Counter(map(recipients.unreachable, self.people))
        self.reached = [person for person in self.people if not recipients.unreachable(person)]
        channels = self.announcement.channels
        self.refused: dict[UUID, str] = recipients.refusals(kind(), self.reached) if EMAIL in channels else {}
        keys = [person.pk for person in self.reached]
        self.off = recipients.switched_off(kind(), keys, channel=IN_APP) if IN_APP in channels else set()

    def counts(self) -> Counter[str]:
        by_mail, inside = (name in self.announcement.channels for name in (EMAIL, IN_APP))
        reasons = Counter(self.refused.values())
        return Counter(
            people=len(self.reached),
            inactive=self.unreachable["inactive"],
            unverified=self.unreachable["unverified"],
            mails=by_mail * (len(self.reached) - len(self.refused)),
            unsubscribed=reasons["preference"],
            throttled=reasons["throttled"],
            suppressed=reasons["suppressed"] + reasons["not_allowed"],
            in_app=inside * (len(self.reached) - len(self.off)),
            switched_off=len(self.off),
        )

    def write(self, *, key: str) -> None:
        """Everything, in the caller's transaction, by few statements. With a `key` each person gets it once."""
        mails: dict[tuple[str, str], list[User]] = {}
        inside: dict[str, list[User]] = {}
        for person in self.reached:
            language = self.announcement.read_in(self.reads or engines.written(person.language))[0]
            mails.setdefault((language, self.refused.get(person.pk, "")), []).append(person)
            if person.pk not in self.off:
                inside.setdefault(language, []).append(person)
        now = database_time()
        if IN_APP in self.announcement.channels:
            for language, people in inside.items():
                self._write_inside(people, language, key, now)
        if EMAIL in self.announcement.channels:
            for (language, reason), people in mails.items():
                self._write_mails(people, language, reason, key, now)

    def _write_mails(self, people: list[User], language: str, reason: str, key: str, now: datetime) -> None:
        pattern = Message(
            announcement=self.announcement if key else None,
            type=TYPE,
            category=kind().category,
            channel=EMAIL,
            language=language,
            context=self.contexts[language],
            priority=kind().priority,
            max_attempts=settings.NOTIFICATIONS_MAX_ATTEMPTS,
            request_id=logs.request_id.get()[:64],
            traceparent=tracing.traceparent(),
        )
        outbox.stamp(pattern, now=now, expires_in=kind().expires_in, refusal=reason)
        uids, domain = [uuid.uuid4() for _person in people], outbox.sending_domain()
        rows = [
            {
                "uid": uid.hex,
                "message_id": f"<{uid}@{domain}>",
                "user_id": person.pk.hex,
                "to_address": recipients.mail_address(person),
                **_event(key, person),
            }
            for person, uid in zip(people, uids, strict=True)
        ]
        insert_alike(pattern, rows)
        if not reason:
            transaction.on_commit(partial(_wake, uids), robust=True)

    def _write_inside(self, people: list[User], language: str, key: str, now: datetime) -> None:
        title, body = render.in_app(kind(), self.contexts[language], language=language)
        pattern = InAppNotification(
            type=TYPE,
            category=kind().category,
            title=title,
            body=body,
            url=self.announcement.url,
            severity=self.announcement.severity,
            created_at=now,
        )
        insert_alike(pattern, [{"user_id": person.pk.hex, **_event(key, person, "key")} for person in people])


def _event(key: str, person: User, column: str = "event_key") -> dict[str, str]:
    return {column: f"{key}:{person.pk}"} if key else {}


def _wake(uids: list[UUID]) -> None:
    for _uid in uids:
        metrics.ENQUEUED.add(TYPE, EMAIL)
    engine.committed_many(uids)


def _settle(row: Announcement) -> Iterator[int]:
    """Let the messages that wait follow the state: they are held back, let go, or cancelled."""
    waiting = _waiting(row)
    for state in Message.OPEN:
        last = 0
        # Slice by slice along the index (announcement, state, id).
        while pks := list(waiting.filter(state=state, pk__gt=last).order_by("pk").values_list("pk", flat=True)[:SLICE]):
            if not _unchanged(row).exists():
                return
            last = pks[-1]
            yield _follow(row, pks)
    delivery = _delivery(row)
    # One that a worker has in hand may come back to the queue: it is looked at once more.
    in_hand = row.state != State.SENDING and Message.State.SENDING in delivery
    _unchanged(row).update(is_settled=not in_hand and not waiting.exists(), delivery=delivery)


def _waiting(row: Announcement) -> QuerySet[Message]:
    """Its messages that do not follow its state yet."""
    mine = Message.objects.filter(announcement=row)
    if row.state == State.CANCELLED:
        return mine.filter(state__in=Message.OPEN, handed_at=None)
    return mine.filter(state=Message.State.QUEUED).exclude(_HELD) if row.state == State.PAUSED else mine.filter(_HELD)


def _follow(row: Announcement, pks: list[int]) -> int:
    if row.state == State.CANCELLED:
        return outbox.cancel_open(Q(pk__in=pks), reason="staff")
    # What is held back is due at its end.
    end = moment(HELD_FOR)
    until = {"due_at": end, "expires_at": end}
    if row.state == State.SENDING:
        until = {"due_at": moment(), "expires_at": moment(kind().expires_in)}
    count = Message.objects.filter(pk__in=pks, state=Message.State.QUEUED).update(**until)
    if row.state == State.SENDING:
        engine.wake()
    return count


def _delivery(row: Announcement) -> dict[str, int]:
    """How many of its messages are in each state; reads an index of all of them."""
    states = Message.objects.filter(announcement=row).order_by().values_list("state")
    return dict(states.annotate(n=Count("pk")))
