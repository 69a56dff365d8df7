"""What staff and operators do to messages: send, retry, resend as a copy, cancel; and what they read of them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Min, Model, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from lib import db
from lib.actors import Actor
from lib.addresses import normal_email, valid_email
from lib.errors import ProductError
from lib.text import is_storable, printable
from notifications import engine, registry
from notifications.models import Message, Suppression, moment
from notifications.providers.smtp import CONVERSATION
from notifications.registry import BY_STAFF, EMAIL, Rate
from notifications.rendering import engines, render
from notifications.rendering.engines import TEST
from notifications.services import health, outbox, recipients

if TYPE_CHECKING:
    from users.models import User

State = Message.State
RETRIABLE = (State.FAILED, State.UNKNOWN, State.EXPIRED)
STATE, WITHDRAWN = "MESSAGE_STATE", "MESSAGE_WITHDRAWN"
_COPIED = (
    *("type", "category", "channel", "language", "context", "user", "to_address", "to_name", "priority"),
    *("max_attempts", "request_id"),
)
#: For how long staff may suppress an address, if not for ever.
DAYS = (30, 90, 365)
KEY_LIMIT = 128


#: What staff may send of one type to one address: as much as an anonymous client can cause.
RATES = tuple(map(Rate.of, BY_STAFF))


def require_reach(actor: Actor, *, address: str, user_id: UUID | None = None) -> None:
    """Commands may act on any account. Raises: ADMINS_ONLY, SUPERUSERS_ONLY (403) for staff who may not on this one."""
    if actor.user is None:
        return
    people = get_user_model()._default_manager.filter(Q(pk=user_id) | Q(email=address))
    for person in people.only("is_staff", "is_superuser"):
        if not actor.user.reaches(person):
            code, who = (
                ("SUPERUSERS_ONLY", _("superusers")) if person.is_superuser else ("ADMINS_ONLY", _("administrators"))
            )
            raise ProductError(
                code, _("Only %(who)s act on the mail of %(address)s.") % {"who": who, "address": address}, status=403
            )


def require_rate(kind: registry.NotificationType, address: str) -> None:
    """TOO_MANY_REQUESTS (429)."""
    if recipients.is_throttled(kind, address, rates=kind.throttle or RATES):
        text = f"{address} has had enough of these for now; try again later."
        raise ProductError("TOO_MANY_REQUESTS", text, status=429)


def log(row: Model, text: str, *, actor: Actor, flag: int = CHANGE) -> None:
    """An entry in the history of the row, as the pages of the admin write it; the text is English."""
    with translation.override(settings.LANGUAGE_CODE):
        LogEntry.objects.log_actions(actor.user.pk, [row], flag, change_message=text, single_object=True)


# --- Suppressing ------------------------------------------------------------------------------------------------------


def scopes() -> list[tuple[str, Any]]:
    """What may be kept from an address, with its label. A fixed category is stopped by `all` alone."""
    optional = [(category.code, category.label) for category in registry.categories() if not category.is_fixed]
    wide = [
        (Suppression.ALL, gettext_lazy("Everything, sign-in codes too")),
        (Suppression.OPTIONAL, gettext_lazy("Everything optional")),
    ]
    return [*wide, *optional]


def suppress(
    address: str, *, actor: Actor, scope: str, reason: str, days: int | None, user_id: UUID | None = None
) -> bool:
    """Write nothing of this scope to the address, for ever without `days`; False when it is listed for as long.

    Its owner gets no warning any more: it takes the rank to act on that account.
    Raises: SUPPRESSION_INVALID (400); ADMINS_ONLY, SUPERUSERS_ONLY (403).
    """
    require_reach(actor, address=address, user_id=user_id)
    if scope not in dict(scopes()):
        raise ProductError("SUPPRESSION_INVALID", _("The scope is all, optional or the code of a category."))
    ends = timezone.now() + timedelta(days=days) if days else None
    return recipients.suppress(address, scope=scope, reason=Suppression.Reason.STAFF, source=reason, expires_at=ends)


# --- Sending and stopping ---------------------------------------------------------------------------------------------


def kind_of(code: str) -> registry.NotificationType:
    """The declared type; ProductError `UNKNOWN_TYPE`."""
    if (kind := registry.find(code)) is None:
        raise _refused("UNKNOWN_TYPE", _("No type %(value)s is declared.") % {"value": printable(code)[:100]})
    return kind


def language_of(code: str | None) -> str | None:
    """The language of templates that is meant; ProductError `UNKNOWN_LANGUAGE`."""
    try:
        return translation.get_supported_language_variant(code) if code else None
    except LookupError:
        raise _refused("UNKNOWN_LANGUAGE", _("This is no language of the product.")) from None


def send(
    type: str,
    *,
    to: str,
    context: Mapping[str, Any],
    language: str | None = None,
    event_key: str | None = None,
    actor: Actor,
) -> Message:
    """Queue one mail; the preferences of the user with this address, if there is one, are respected.

    Raises: UNKNOWN_TYPE, UNKNOWN_LANGUAGE, INVALID_MESSAGE (400); TOO_MANY_REQUESTS (429) for staff.
    """
    kind = kind_of(type)
    if EMAIL not in kind.channels:
        raise _refused("INVALID_MESSAGE", f"{kind.code} is only read inside the product.")
    if event_key is not None and not (is_storable(event_key) and 0 < len(event_key) <= 200):
        raise _refused("INVALID_MESSAGE", _("The event key has 1 to 200 characters."))
    _refuse_unstorable(context)
    try:
        to = valid_email(to)
    except ValueError as error:
        raise _refused("INVALID_MESSAGE", _("The address %(error)s.") % {"error": error}) from None
    if actor.user is not None:
        require_rate(kind, to)
    user = get_user_model()._default_manager.filter(email=to).first()
    try:
        with transaction.atomic():
            sent = outbox.queue(
                kind.code, to=to, context=context, user=user, language=language_of(language), event_key=event_key
            )
    except ValueError as error:
        raise _refused("INVALID_MESSAGE", str(error)[:500]) from None
    return sent[0]


@transaction.atomic
def send_once(
    type: str, *, to: str, context: Mapping[str, Any], actor: Actor, key: str, language: str | None = None
) -> tuple[Message, bool]:
    """The same, and whether it is new: a key that this API key, or person without one, has used gets what it was used
    for.

    Raises: BAD_IDEMPOTENCY_KEY (400), IDEMPOTENCY_KEY_REUSED (409) when it was used for something else.
    """
    if not (key.isascii() and key.isprintable() and 0 < len(key) <= KEY_LIMIT):
        raise _refused(
            "BAD_IDEMPOTENCY_KEY",
            _("The key has 1 to %(key_limit)s printable ASCII characters.") % {"key_limit": KEY_LIMIT},
        )
    # One at a time: two bodies at once must not both be the first.
    get_user_model()._default_manager.select_for_update(no_key=True).get(pk=actor.user.pk)
    event_key = f"staff:{actor.request.api_key or actor.user.pk.hex}:{key}"
    earlier = Message.objects.filter(event_key=event_key).first()
    if earlier is None:
        return send(type, to=to, context=context, language=language, event_key=event_key, actor=actor), True
    is_same = (earlier.type, earlier.to_address) == (type, normal_email(to))
    if is_same and language:
        is_same = earlier.language == language_of(language)
    if is_same:
        try:
            stored = kind_of(type).context.model_validate(dict(context)).model_dump(mode="json")
            # The context of old messages was purged.
            is_same = earlier.context in ({}, stored)
        except ValueError:
            is_same = False
    if not is_same:
        raise ProductError("IDEMPOTENCY_KEY_REUSED", _("This key was used for another message."), status=409)
    return earlier, False


@transaction.atomic
def retry(message: Message, *, actor: Actor) -> None:
    """Queue a failed, unknown or expired message again: the same row and Message-ID, all its attempts anew.

    Raises: ADMINS_ONLY, SUPERUSERS_ONLY (403) for staff who may not act on its recipient; MESSAGE_STATE (409) in
    another state; MESSAGE_WITHDRAWN (409) when its code or link is dead.
    """
    require_reach(actor, address=message.to_address, user_id=message.user_id)
    kind = _alive(message)
    again = {"state": State.QUEUED, "reason": "", "attempts": 0, "handed_at": None, "finished_at": None}
    # What was reported of the earlier hand-over.
    again |= {"delivery_state": "", "provider_message_id": ""}
    row = Message.objects.filter(pk=message.pk, state__in=RETRIABLE)
    if not row.update(**again, due_at=moment(), expires_at=moment(kind.expires_in)):
        raise ProductError(STATE, _("Only a failed, unknown or expired message can be tried again."), status=409)
    transaction.on_commit(partial(engine.committed, message.pk), robust=True)


def send_test(kind: registry.NotificationType, *, user: User, language: str) -> Message:
    """Queue the sample of a type, marked as a test, to the user's own address; its codes and links are made up."""
    address = str(getattr(user, user.get_email_field_name()))
    return outbox.queue(TEST, to=address, context={"about": kind.code}, user=user, language=language)[0]


def wrongly_failed() -> QuerySet[Message]:
    """Failed by an answer about the conversation, which no longer happens; the one that ended last first."""
    codes = [str(code) for code in sorted(CONVERSATION)]
    return Message.objects.filter(state=State.FAILED, reason="refused", last_code__in=codes).order_by("-finished_at")


def cancel(message: Message, *, actor: Actor) -> None:
    """Stop a message that no mail server was given. Raises: MESSAGE_STATE (409), ADMINS_ONLY, SUPERUSERS_ONLY (403)."""
    require_reach(actor, address=message.to_address, user_id=message.user_id)
    if not outbox.cancel_open(Q(pk=message.pk), reason="staff"):
        raise ProductError(STATE, _("Only a message that waits can be cancelled."), status=409)


@transaction.atomic
def resend(message: Message, *, actor: Actor) -> Message:
    """Queue a copy of a message that is through: a new row and Message-ID, with this one as its `parent`.

    Raises: MESSAGE_STATE (409) while it is open, MESSAGE_WITHDRAWN (409), ADMINS_ONLY, SUPERUSERS_ONLY (403),
    TOO_MANY_REQUESTS (429).
    """
    require_reach(actor, address=message.to_address, user_id=message.user_id)
    # Two members of staff at once: the second counts the first one's copy.
    message = Message.objects.select_for_update().get(pk=message.pk)
    if message.state in Message.OPEN:
        raise ProductError(STATE, _("This message is still on its way."), status=409)
    kind = _alive(message)
    require_rate(kind, message.to_address)
    copied = {name: getattr(message, name) for name in _COPIED}
    copy = Message(**copied, parent=message, event_key=_key_of_copy(message))
    return outbox.insert(copy, expires_in=kind.expires_in)


def _key_of_copy(message: Message) -> str | None:
    """The next unused key: earlier copies may have been purged, and a caller may have chosen a key like this."""
    if message.event_key is None:
        return None
    suffixes = (f"#resend-{n}" for n in count(message.copies.count() + 1))
    keys = (f"{message.event_key[: 200 - len(suffix)]}{suffix}" for suffix in suffixes)
    return next(key for key in keys if not Message.objects.filter(event_key=key).exists())


def _alive(message: Message) -> registry.NotificationType:
    """The type of the message. Raises: MESSAGE_WITHDRAWN (409) when its code, link or context is gone."""
    if (kind := registry.find(message.type)) is None:
        raise ProductError(WITHDRAWN, _("This version of the product no longer sends this type."), status=409)
    if not message.context and kind.context.model_fields:
        raise ProductError(WITHDRAWN, _("The text of this message has been deleted since."), status=409)
    try:
        render.derived(message)
    except registry.Withdrawn:
        text = _("Its code or link is no longer valid: send a new one from the user's page.")
    except (ProductError, DatabaseError, InterfaceError):
        raise
    except Exception as error:
        # Only its kind: the message of an error of derive may hold the secret.
        text = _("Its code or link cannot be made (%(name)s).") % {"name": type(error).__name__}
    else:
        return kind
    raise ProductError(WITHDRAWN, text, status=409)


def is_alive(message: Message) -> bool:
    """Whether it can still be sent: its type is declared, its code or link still valid."""
    try:
        _alive(message)
    except ProductError:
        return False
    return True


def _refused(code: str, message: str) -> ProductError:
    return ProductError(code, message, reason=message)


def _refuse_unstorable(value: Any) -> None:
    """Refuse what no database holds in JSON: NUL, lone surrogates, infinite numbers."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif isinstance(value, str) and not is_storable(value):
            raise _refused("INVALID_MESSAGE", _("The context holds NUL characters or lone surrogates."))
        elif isinstance(value, float) and not math.isfinite(value):
            raise _refused("INVALID_MESSAGE", _("The context holds a number that is none."))


# --- Reading ----------------------------------------------------------------------------------------------------------


def find(uid: str) -> Message:
    """The message. Raises: MESSAGE_NOT_FOUND (404)."""
    try:
        return Message.objects.select_related("parent").get(uid=uuid.UUID(uid))
    except (ValueError, Message.DoesNotExist):
        raise ProductError("MESSAGE_NOT_FOUND", _("There is no such message."), status=404) from None


def page(
    *,
    state: str | None = None,
    type: str | None = None,
    category: str | None = None,
    channel: str | None = None,
    to: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str = "",
    limit: int = 20,
) -> tuple[list[Message], str | None]:
    """The newest messages, or those after the cursor, and the cursor of the rest."""
    filters: dict[str, Any] = {"state": state, "type": type, "category": category, "channel": channel}
    filters |= {"created_at__gte": since, "created_at__lt": until, "to_address": normal_email(to) if to else None}
    given = {name: value for name, value in filters.items() if value is not None}
    rows = Message.objects.select_related("parent").filter(**given)
    return db.page(rows, by="-pk", cursor=cursor, limit=limit, of="messages")


def stats() -> dict[str, Any]:
    """How many messages there are in each state, counted to 10,000; of the last hour; and how late the first one is."""
    hour = Message.objects.filter(finished_at__gte=moment(timedelta(hours=-1)))
    due = Message.objects.filter(priority__in=registry.PRIORITIES, due_at__lte=moment(), state=State.QUEUED)
    oldest = due.aggregate(at=Min("due_at"))["at"]
    return {
        "states": {state.value: Message.objects.filter(state=state)[: health.COUNTED].count() for state in State},
        "last_hour": {
            state.value: hour.filter(state=state)[: health.COUNTED].count() for state in (State.SENT, State.FAILED)
        },
        "oldest_due_seconds": max(0, int((timezone.now() - oldest).total_seconds())) if oldest else None,
    }


def body(message: Message) -> render.Rendered | None:
    """The message as it was sent, codes and links masked; None when it can no longer be rendered."""
    kind = registry.find(message.type)
    if kind is None or (not message.context and kind.context.model_fields):
        return None
    try:
        return render.masked(message)
    except (DatabaseError, InterfaceError):
        raise
    except Exception:
        # Whatever today's templates make of an old row, the page of the admin names it.
        return None


def preview(code: str, *, language: str | None = None) -> render.Rendered:
    """The type filled with its sample. Raises: UNKNOWN_TYPE (404), RENDER_ERROR (409)."""
    language = language_of(language) or settings.LANGUAGE_CODE
    if (kind := registry.find(code)) is None:
        raise ProductError("UNKNOWN_TYPE", _("No such type is declared."), status=404)
    try:
        if EMAIL in kind.channels:
            return render.render(kind, engines.sample(kind), language=language)
        title, text = render.in_app(kind, {}, language=language)
        return render.Rendered(title, text, "")
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        # A template may raise anything; that is its author's mistake, and staff are who looks for it.
        raise ProductError(
            "RENDER_ERROR", _("It cannot be rendered (%(name)s).") % {"name": type(error).__name__}, status=409
        ) from error
