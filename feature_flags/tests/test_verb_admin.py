"""What lib.admin.verbs does beyond the buttons of flags: reasons, result texts, refusals in a selection."""

import pytest
from django import forms
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.urls import path

from feature_flags.models import FeatureFlag
from feature_flags.services import editing
from feature_flags.tests.factories import FeatureFlagFactory
from lib.admin.verbs import ReasonForm, Verb, VerbAdmin
from lib.errors import ProductError

LIST = "/admin/feature_flags/featureflag/"


def _retire(flag, *, actor, reason=""):
    if flag.codename.startswith("KEEP"):
        raise ProductError("FLAG_INVALID", "This one stays.")
    who = {"actor": actor, "reason": reason}
    return editing.edit(flag, {"label": "retired", "description": None}, **who)


def _count(flag, *, actor, reason=""):
    return f"{len(flag.codename)} letters counted"


def _describe(flag, *, actor, description, reason=""):
    who = {"actor": actor, "reason": reason}
    return editing.edit(flag, {"description": description}, **who)


def _drop(flag, *, actor, reason=""):
    if flag.codename.startswith("KEEP"):
        raise ProductError("FLAG_IN_USE", "This one stays.")
    editing.delete(flag, actor=actor, reason=reason)
    return True


class DescribeForm(ReasonForm):
    description = forms.CharField()


class FlagAdmin(VerbAdmin):
    list_display = ("codename", "verb_buttons")
    verbs = (
        Verb(
            name="retire",
            label="Retire",
            permission="feature_flags.change_featureflag",
            run=_retire,
            done="retired",
            already="retired already",
            asks_reason=True,
            in_row=True,
        ),
        Verb(
            name="count", label="Count", permission="feature_flags.view_featureflag", run=_count, done="", in_bulk=False
        ),
        Verb(
            name="describe",
            label="Describe",
            permission="feature_flags.change_featureflag",
            run=_describe,
            done="described",
            asks_reason=lambda flag: flag.is_protected,
            reason_required=lambda flag: flag.is_active,
            form=DescribeForm,
            explain=lambda flag: f"It has {len(flag.codename)} letters.",
        ),
        Verb(
            name="drop",
            label="Drop",
            permission="feature_flags.change_featureflag",
            run=_drop,
            done="dropped",
            deletes=True,
        ),
    )


class Site(AdminSite):
    export_permission = ""

    def saved_views(self, request, label):
        return None


site = Site()
site.register(FeatureFlag, FlagAdmin)
urlpatterns = [path("admin/", site.urls)]

pytestmark = pytest.mark.urls(__name__)


def told(response):
    return [str(message) for message in response.context["messages"]]


def test_a_page_asks_why_and_nothing_happens_before(staff_client):
    flag = FeatureFlagFactory.create(codename="a.b")

    response = staff_client.post(f"{LIST}{flag.pk}/retire/?_changelist_filters=q%3Da", {"_from": "list"})

    html = response.content.decode()
    assert response.status_code == 200
    assert "errorlist" not in html
    assert '<input type="hidden" name="_from" value="list">' in html
    assert f'href="{LIST}?q=a"' in html
    assert flag.revisions.count() == 1


def test_the_reason_reaches_the_verb_and_the_log(staff_client):
    flag = FeatureFlagFactory.create(codename="a.b")
    address = f"{LIST}{flag.pk}/retire/?_changelist_filters=q%3Da"

    response = staff_client.post(address, {"_from": "list", "reason": " too old "}, follow=True)

    assert response.redirect_chain == [(f"{LIST}?q=a", 302)]
    assert told(response) == ["“a.b”: retired."]
    assert flag.revisions.latest("id").reason == "too old"
    assert LogEntry.objects.get().change_message == "Retire: retired. Reason: too old"


@pytest.mark.parametrize("reason", ["", "  ", "a" * 201, "a\x00b"])
def test_a_reason_that_is_none_is_asked_again(staff_client, reason):
    flag = FeatureFlagFactory.create()

    response = staff_client.post(f"{LIST}{flag.pk}/retire/", {"reason": reason})

    assert response.status_code == 200
    assert b"errorlist" in response.content
    assert flag.revisions.count() == 1


def test_a_refusal_is_shown_and_not_logged(staff_client):
    flag = FeatureFlagFactory.create(codename="KEEP")

    response = staff_client.post(f"{LIST}{flag.pk}/retire/", {"reason": "why not"}, follow=True)

    assert told(response) == ["“KEEP”: This one stays."]
    assert not LogEntry.objects.exists()


def test_a_verb_may_tell_the_result_in_its_own_words(staff_client):
    flag = FeatureFlagFactory.create(codename="abc")

    response = staff_client.post(f"{LIST}{flag.pk}/count/", follow=True)

    assert told(response) == ["“abc”: 3 letters counted."]


def test_a_selection_is_asked_for_one_reason_and_carried_along(staff_client):
    flags = [FeatureFlagFactory.create(codename=name) for name in ("a", "b", "KEEP")]
    data = {"action": "retire", "_selected_action": [flag.pk for flag in flags], "select_across": "0"}

    asked = staff_client.post(LIST, {**data, "index": "0"})
    carried = {name: [] for name, _ in asked.context["carried"]}
    for name, value in asked.context["carried"]:
        carried[name].append(value)
    response = staff_client.post(LIST, {**carried, "reason": "spring"}, follow=True)

    assert carried.keys() == data.keys()
    assert told(response) == ["2 feature flags: retired.", "“KEEP”: This one stays."]
    assert FeatureFlag.objects.filter(label="retired").count() == 2
    assert LogEntry.objects.count() == 2


def test_an_action_that_is_not_for_selections_is_absent(staff_client):
    FeatureFlagFactory.create()

    html = staff_client.get(LIST).content.decode()

    assert '<option value="retire">' in html
    assert '<option value="count">' not in html


def test_a_selection_that_is_too_large_is_refused(staff_client, monkeypatch):
    monkeypatch.setattr("lib.admin.verbs.BULK_LIMIT", 1)
    flags = [FeatureFlagFactory.create(codename=name) for name in ("a", "b")]
    data = {"action": "retire", "_selected_action": [flag.pk for flag in flags], "reason": "spring"}

    response = staff_client.post(LIST, data, follow=True)

    assert told(response) == ["Select at most 1 at once."]
    assert not FeatureFlag.objects.filter(label="retired").exists()


def test_the_page_holds_the_buttons_outside_its_form(staff_client):
    flag = FeatureFlagFactory.create()

    html = staff_client.get(f"{LIST}{flag.pk}/change/").content.decode()

    assert html.index(f'action="{LIST}{flag.pk}/retire/"') < html.index('id="featureflag_form"')
    assert "Retire…" in html


def test_a_verb_may_ask_of_some_objects_only_and_for_more_than_a_reason(staff_client):
    quiet, loud = (
        FeatureFlagFactory.create(codename="abc"),
        FeatureFlagFactory.create(codename="abcd", is_protected=True),
    )

    pages = [staff_client.get(f"{LIST}{flag.pk}/change/").content.decode() for flag in (quiet, loud)]
    asked = staff_client.post(f"{LIST}{loud.pk}/describe/")
    again = staff_client.post(f"{LIST}{loud.pk}/describe/", {"reason": "", "description": ""})
    staff_client.post(f"{LIST}{loud.pk}/describe/", {"reason": "", "description": "loud"})

    assert ["Describe…" in html for html in pages] == [False, True]
    assert "abcd: It has 4 letters." in asked.content.decode()
    assert again.context["form"].errors.keys() == {"description"}
    loud.refresh_from_db()
    assert loud.description == "loud"


def test_a_reason_is_insisted_on_where_the_object_needs_one(staff_client):
    flag = FeatureFlagFactory.create(is_protected=True, is_active=True)

    response = staff_client.post(f"{LIST}{flag.pk}/describe/", {"reason": " ", "description": "loud"})

    assert response.context["form"].errors["reason"] == ["Say why."]


def test_a_verb_that_ends_an_object_leads_to_the_list_and_a_refusal_back_to_the_page(staff_client):
    gone, kept = FeatureFlagFactory.create(codename="abc"), FeatureFlagFactory.create(codename="KEEP")

    responses = [staff_client.post(f"{LIST}{flag.pk}/drop/", follow=True) for flag in (gone, kept)]

    assert [response.redirect_chain[0][0] for response in responses] == [LIST, f"{LIST}{kept.pk}/change/"]
    assert told(responses[0]) == ["“abc”: dropped."]
    assert LogEntry.objects.get().object_repr == "abc"
