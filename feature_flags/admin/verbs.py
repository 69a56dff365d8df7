"""The buttons of a flag: each calls the verb of the same name."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from feature_flags import declarations, names
from feature_flags.models import FeatureFlag, FlagSeen
from feature_flags.services import editing
from lib.admin.verbs import ReasonForm, Verb, lazy_text

SWITCH, ARCHIVE = "feature_flags.switch_featureflag", "feature_flags.archive_featureflag"


class RenameForm(ReasonForm):
    codename = forms.CharField(
        max_length=names.MAX_LENGTH,
        label=_("New codename"),
        help_text=_("Code that asks for the old name learns that there is none."),
        widget=forms.TextInput({"class": "vTextField", "spellcheck": "false", "autocomplete": "off"}),
        error_messages={"required": _("Give it a name.")},
    )
    field_order = ("codename", "reason")


def _is_declared(flag: FeatureFlag) -> bool:
    return declarations.is_declared(flag.codename)


def _may_be_deleted(flag: FeatureFlag) -> bool:
    if _is_declared(flag):
        return False
    if flag.is_archived:
        return True
    # Known on a page and in a list, asked for alone elsewhere.
    known = getattr(flag, "activity", None)
    return known.last_seen_at is None if known else not FlagSeen.objects.filter(codename=flag.codename).exists()


def _explain_on(flag: FeatureFlag) -> str:
    if flag.is_active:
        return gettext("It is on already.")
    if flag.document["rules"] or flag.document["rollout_percent"] < 100:
        return gettext("It goes on for whomever its rules and percentages let in, within a second and everywhere.")
    return gettext("It goes on for everybody, within a second and everywhere.")


def _explain_archive(flag: FeatureFlag) -> str:
    if flag.is_active:
        return gettext(
            "It goes off; code that asks for it learns that there is no such flag. "
            "It can be taken out of the archive again."
        )
    return gettext("Code that asks for it learns that there is no such flag. It can be taken out of the archive again.")


def _rename(flag: FeatureFlag, *, codename: str, **given: Any) -> Promise | bool:
    if not editing.rename(flag, codename=codename, **given):
        return False
    return lazy_text(lambda: gettext("renamed to %(codename)s") % {"codename": codename})


FLAG_VERBS = (
    Verb(
        name="switch/on",
        label=_("Switch on"),
        permission=SWITCH,
        run=partial(editing.switch, on=True),
        done=_("switched on"),
        already=_("on already"),
        asks_reason=lambda flag: flag.is_protected,
        explain=_explain_on,
        in_row=True,
        turns=True,
        applies=lambda flag: not flag.is_active and not flag.is_archived,
    ),
    Verb(
        name="switch/off",
        label=_("Switch off"),
        permission=SWITCH,
        run=partial(editing.switch, on=False),
        done=_("switched off"),
        already=_("off already"),
        asks_reason=lambda flag: flag.is_protected,
        explain=lambda flag: (
            _("It goes off for everybody, within a second and everywhere.")
            if flag.is_active
            else _("It is off already.")
        ),
        in_row=True,
        turns=False,
        applies=lambda flag: flag.is_active,
    ),
    Verb(
        name="rename",
        label=_("Rename"),
        permission="feature_flags.change_featureflag",
        run=_rename,
        done=_("renamed"),
        already=_("its name is that already"),
        asks_reason=True,
        reason_required=False,
        form=RenameForm,
        in_bulk=False,
        applies=lambda flag: not _is_declared(flag),
    ),
    Verb(
        name="archive",
        label=_("Archive"),
        permission=ARCHIVE,
        run=editing.archive,
        done=_("archived"),
        already=_("archived already"),
        asks_reason=True,
        reason_required=lambda flag: flag.is_protected and flag.is_active,
        explain=_explain_archive,
        applies=lambda flag: not flag.is_archived and not _is_declared(flag),
    ),
    Verb(
        name="unarchive",
        label=_("Take out of the archive"),
        permission=ARCHIVE,
        run=editing.unarchive,
        done=_("taken out of the archive, off"),
        already=_("not archived"),
        in_bulk=False,
        applies=lambda flag: flag.is_archived,
    ),
    Verb(
        name="delete",
        label=_("Delete"),
        permission=ARCHIVE,
        run=editing.delete,
        done=_("deleted"),
        asks_reason=True,
        reason_required=False,
        explain=lambda flag: _("Only its history stays. Its newest entry brings it back, without the schedule."),
        deletes=True,
        in_bulk=False,
        applies=_may_be_deleted,
    ),
)
