"""The buttons on accounts. Each calls its service, which checks once more who may."""

from collections.abc import Callable
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from lib.admin.verbs import Verb, lazy_text
from users.models import User
from users.responses import download
from users.services import rate_limits, staff


def is_paused(user: User) -> bool:
    """Known for a whole page of the list by one query, asked for alone elsewhere, once."""
    known = getattr(user, "is_paused", None)
    if known is None:
        user.is_paused = known = rate_limits.is_paused(user.email)  # type: ignore[attr-defined]
    return bool(known)


def has_factor(user: User) -> bool:
    """Known for a whole page of the list, asked for alone elsewhere."""
    known = getattr(user, "factor_count", None)
    return user.mfa_devices.filter(confirmed_at__isnull=False).exists() if known is None else bool(known)


def _counted(service: Callable[..., int], sentence: Callable[[int], str]) -> Callable[..., str | Promise]:
    """The service, with the number it returns put into the sentence."""

    def run(user: User, **given: Any) -> str | Promise:
        count = service(user, **given)
        return lazy_text(lambda: sentence(count) % count) if count else ""

    return run


VERBS = (
    Verb(
        name="activate",
        label=_("Activate"),
        permission="users.activate_user",
        run=staff.activate,
        done=_("activated"),
        already=_("active already; a pause, if there was one, is lifted"),
        in_row=True,
        applies=lambda user: not user.is_active,
    ),
    Verb(
        name="unlock",
        label=_("Unlock"),
        permission="users.activate_user",
        run=staff.unlock,
        done=_("pause lifted"),
        already=_("not paused"),
        in_row=True,
        applies=is_paused,
    ),
    Verb(
        name="deactivate",
        label=_("Deactivate"),
        permission="users.deactivate_user",
        run=staff.deactivate,
        done=_("deactivated and signed out"),
        already=_("inactive already"),
        asks_reason=True,
        sensitive=True,
        destroys=True,
        in_head=True,
        explain=lambda user: _("Signed out everywhere at once, and no sign-in until someone activates the account."),
        applies=lambda user: user.is_active or user.delete_after_at is not None,
    ),
    Verb(
        name="mark-verified",
        label=_("Mark verified"),
        permission="users.verify_user",
        run=staff.mark_verified,
        done=_("address taken as verified"),
        already=_("verified already"),
        asks_reason=True,
        sensitive=True,
        applies=lambda user: not user.is_verified,
    ),
    Verb(
        name="send-code",
        label=_("Send registration code"),
        permission="users.verify_user",
        run=staff.send_code,
        done=_("registration code on its way"),
        applies=lambda user: user.is_active and not user.is_verified,
    ),
    Verb(
        name="send-reset",
        label=_("Send password reset"),
        permission="users.send_reset_user",
        run=staff.send_reset,
        done=_("reset link on its way"),
        applies=lambda user: user.is_active,
    ),
    Verb(
        name="sign-out",
        label=_("Sign out everywhere"),
        permission="users.sign_out_user",
        run=_counted(staff.sign_out, lambda count: ngettext("%d session ended", "%d sessions ended", count)),
        done=_("signed out"),
        already=_("not signed in anywhere"),
    ),
    Verb(
        name="remove-factors",
        label=_("Remove second factors"),
        permission="users.remove_factor_user",
        run=_counted(
            staff.remove_factors,
            lambda count: ngettext(
                "%d second factor removed, signed out everywhere",
                "%d second factors removed, signed out everywhere",
                count,
            ),
        ),
        done=_("second factors removed"),
        already=_("no second factor"),
        asks_reason=True,
        sensitive=True,
        destroys=True,
        in_bulk=False,
        applies=has_factor,
        explain=lambda user: _(
            "All apps, passkeys and recovery codes go, every session ends, and the owner is informed by mail."
        ),
    ),
    Verb(
        name="export",
        label=_("Export"),
        permission="users.export_user",
        run=lambda user, **given: download(staff.export_of(user, **given)),
        done=_("export made"),
        downloads=True,
        asks_reason=True,
        sensitive=True,
        in_bulk=False,
        explain=lambda user: _("A JSON file with everything that is held about this person."),
    ),
)
