import pytest

from feature_flags import services
from feature_flags.models import FeatureFlag, FlagSetState
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory
from lib.errors import ProductError

pytestmark = pytest.mark.django_db


def test_editing_records_only_what_changed():
    flag = FeatureFlagFactory.create(label="Old", description="same")

    changed = services.edit(flag, {"label": "New", "description": "same"}, **COMMAND)

    assert changed
    assert FeatureFlag.objects.get(pk=flag.pk).label == flag.label == "New"
    assert flag.revisions.latest("id").diff == {"label": ["Old", "New"]}


def test_editing_to_the_same_records_nothing():
    flag = FeatureFlagFactory.create()
    before = FlagSetState.objects.get().revision

    assert not services.edit(flag, {"label": "", "description": None}, **COMMAND)
    assert flag.revisions.count() == 1
    assert FlagSetState.objects.get().revision == before


def test_editing_a_stale_object_keeps_the_switch():
    flag = FeatureFlagFactory.create()
    stale = FeatureFlag.objects.get(pk=flag.pk)
    services.switch(flag, on=True, **COMMAND)

    services.edit(stale, {"label": "New", "description": None}, **COMMAND)

    assert stale.is_active
    assert FeatureFlag.objects.get(pk=flag.pk).is_active


@pytest.mark.parametrize("label", ["a\x00b", "\udfff", "a" * 201])
def test_text_that_cannot_be_stored_is_refused(label):
    flag = FeatureFlagFactory.create()

    with pytest.raises(ProductError, match="label"):
        services.edit(flag, {"label": label, "description": None}, **COMMAND)

    assert flag.revisions.count() == 1


def test_a_flag_that_is_gone_is_unknown():
    flag = FeatureFlagFactory.create()
    FeatureFlag.objects.filter(pk=flag.pk).delete()

    with pytest.raises(ProductError) as caught:
        services.edit(flag, {"label": "New", "description": None}, **COMMAND)

    assert caught.value.code == "FLAG_UNKNOWN"
