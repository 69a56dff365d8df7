import pytest
from django.db import transaction

from feature_flags import flag_document, flag_schema
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, document_of, make_staff
from lib.actors import Actor
from lib.errors import ProductError

pytestmark = pytest.mark.django_db


def refused(code, codename, **fields):
    before = FlagSetState.objects.get().revision
    with pytest.raises(ProductError) as caught:
        editing.create(codename, **fields, **COMMAND)
    assert FlagSetState.objects.get().revision == before
    return caught.value.code == code


def test_the_blank_document_is_what_the_schema_fills_in():
    blank = flag_document.checked({"codename": "BLANK"})

    assert list(flag_document.BLANK.items()) == list(blank.items())
    assert flag_schema.Rule().model_dump() == flag_document.BLANK_RULE


def test_a_new_flag_is_off_and_says_who_made_it():
    user = make_staff()

    flag = editing.create(
        "beta",
        label="Beta",
        actor=Actor("admin", user),
        reason="trial",
    )

    assert not FeatureFlag.objects.get(codename="beta").is_active
    assert flag.created_by == flag.updated_by == user.pk.hex
    revision = FlagRevision.objects.get(flag=flag)
    assert (revision.action, revision.door, revision.actor, revision.reason) == ("create", "admin", user, "trial")
    assert revision.diff == {"codename": [None, "beta"], "label": [None, "Beta"], "is_active": [None, False]}
    assert revision.snapshot == document_of(flag)


def test_what_is_left_out_stays_null():
    editing.create("beta", description="", **COMMAND)

    assert FeatureFlag.objects.filter(codename="beta", label=None, description=None).exists()


def test_creating_raises_the_revision_by_one():
    before = FlagSetState.objects.get().revision

    editing.create("beta", **COMMAND)

    assert FlagSetState.objects.get().revision == before + 1


@pytest.mark.parametrize("codename", ["beta", "BETA", "Beta"])
def test_a_taken_name_is_refused_in_any_letter_case(codename):
    FeatureFlagFactory.create(codename="beta")

    assert refused("FLAG_EXISTS", codename)
    assert FeatureFlag.objects.filter(codename__iexact="beta").count() == 1


@pytest.mark.parametrize(
    "codename", ["", " beta", "be ta", "-beta", "béta", "be\x00ta", "beta\n", "b" * 101, "\ud800", "a/b"]
)
def test_a_name_that_is_none_is_refused(codename):
    assert refused("FLAG_INVALID", codename)


@pytest.mark.parametrize("fields", [{"label": "a\x00b"}, {"description": "\ud800"}, {"label": "a" * 201}])
def test_text_that_cannot_be_stored_is_refused(fields):
    assert refused("FLAG_INVALID", "beta", **fields)


def test_a_reason_that_cannot_be_stored_is_refused():
    with pytest.raises(ProductError):
        editing.create("beta", **COMMAND, reason="a\x00b")

    assert not FeatureFlag.objects.filter(codename="beta").exists()


def test_a_refusal_leaves_the_callers_transaction_usable():
    FeatureFlagFactory.create(codename="beta")

    with transaction.atomic():
        with pytest.raises(ProductError):
            editing.create("beta", **COMMAND)
        editing.create("gamma", **COMMAND)

    assert FeatureFlag.objects.filter(codename="gamma").exists()


def test_history_cannot_be_changed_or_deleted():
    flag = FeatureFlagFactory.create()
    revision = flag.revisions.get()

    for change in (revision.save, revision.delete, FlagRevision.objects.all().delete):
        with pytest.raises(Exception, match="only ever added to"):
            change()
    with pytest.raises(Exception, match="only ever added to"):
        FlagRevision.objects.update(reason="another")


def test_history_outlives_the_flag_and_the_person():
    user = make_staff()
    flag = editing.create("beta", actor=Actor("admin", user))
    label = user.pk.hex

    flag.delete()
    user.delete()

    revision = FlagRevision.objects.get(codename="beta")
    assert (revision.flag, revision.actor, revision.who) == (None, None, label)
