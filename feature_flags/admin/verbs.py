"""The buttons of a flag: each calls the verb of the same name."""

from __future__ import annotations

from functools import partial

from django import forms

from feature_flags import declarations, names
from feature_flags.models import FeatureFlag, FlagSeen
from feature_flags.services import editing
from lib.admin.verbs import ReasonForm, Verb

SWITCH, ARCHIVE = "feature_flags.switch_featureflag", "feature_flags.archive_featureflag"


class RenameForm(ReasonForm):
    codename = forms.CharField(
        max_length=names.MAX_LENGTH,
        label="New codename",
        help_text="Code that asks for the old name learns that there is none.",
        widget=forms.TextInput({"class": "vTextField", "spellcheck": "false", "autocomplete": "off"}),
        error_messages={"required": "Give it a name."},
    )
    field_order = ("codename", "reason")


def _is_declared(flag: FeatureFlag) -> bool:
    return declarations.is_declared(flag.codename)


def _may_be_deleted(flag: FeatureFlag) -> bool:
    if _is_declared(flag):
        return False
    return flag.is_archived or not FlagSeen.objects.filter(codename=flag.codename).exists()


def _explain_on(flag: FeatureFlag) -> str:
    if flag.is_active:
        return "It is on already."
    narrowed = flag.document["rules"] or flag.document["rollout_percent"] < 100
    to = "whomever its rules and percentages let in" if narrowed else "everybody"
    return f"It goes on for {to}, within a second and everywhere."


def _explain_archive(flag: FeatureFlag) -> str:
    goes = "It goes off; code" if flag.is_active else "Code"
    return f"{goes} that asks for it learns that there is no such flag. It can be taken out of the archive again."


FLAG_VERBS = (
    Verb(
        name="switch/on",
        label="Switch on",
        permission=SWITCH,
        run=partial(editing.switch, on=True),
        done="switched on",
        already="on already",
        asks_reason=lambda flag: flag.is_protected,
        explain=_explain_on,
        in_row=True,
        turns=True,
        applies=lambda flag: not flag.is_active and not flag.is_archived,
    ),
    Verb(
        name="switch/off",
        label="Switch off",
        permission=SWITCH,
        run=partial(editing.switch, on=False),
        done="switched off",
        already="off already",
        asks_reason=lambda flag: flag.is_protected,
        explain=lambda flag: (
            "It goes off for everybody, within a second and everywhere." if flag.is_active else "It is off already."
        ),
        in_row=True,
        turns=False,
        applies=lambda flag: flag.is_active,
    ),
    Verb(
        name="rename",
        label="Rename",
        permission="feature_flags.change_featureflag",
        run=lambda flag, **given: editing.rename(flag, **given) and f"renamed to {flag.codename}",
        done="renamed",
        already="its name is that already",
        asks_reason=True,
        reason_required=False,
        form=RenameForm,
        in_bulk=False,
        applies=lambda flag: not _is_declared(flag),
    ),
    Verb(
        name="archive",
        label="Archive",
        permission=ARCHIVE,
        run=editing.archive,
        done="archived",
        already="archived already",
        asks_reason=True,
        reason_required=lambda flag: flag.is_protected and flag.is_active,
        explain=_explain_archive,
        applies=lambda flag: not flag.is_archived and not _is_declared(flag),
    ),
    Verb(
        name="unarchive",
        label="Take out of the archive",
        permission=ARCHIVE,
        run=editing.unarchive,
        done="taken out of the archive, off",
        already="not archived",
        in_bulk=False,
        applies=lambda flag: flag.is_archived,
    ),
    Verb(
        name="delete",
        label="Delete",
        permission=ARCHIVE,
        run=editing.delete,
        done="deleted",
        asks_reason=True,
        reason_required=False,
        explain=lambda flag: "Only its history stays. Its newest entry brings it back, without the schedule.",
        deletes=True,
        in_bulk=False,
        applies=_may_be_deleted,
    ),
)
