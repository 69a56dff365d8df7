import re

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from feature_flags import services
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, make_staff

LIST = "/admin/feature_flags/featureflag/"


def page(flag, end="change"):
    return f"{LIST}{flag.pk}/{end}/"


def told(response):
    return [str(message) for message in response.context["messages"]]


def form(**fields):
    return {"label": "", "description": "", **fields}


def test_a_press_in_the_list_switches_and_says_who(staff_client, staff):
    flag = FeatureFlagFactory.create(codename="FF_A")

    response = staff_client.post(page(flag, "switch/on"), {"_from": "list"}, follow=True)

    assert response.redirect_chain == [(LIST, 302)]
    assert told(response) == ["“FF_A”: switched on."]
    flag.refresh_from_db()
    assert flag.is_active
    revision = flag.revisions.latest("id")
    assert (revision.action, revision.door, revision.actor) == ("switch", "admin", staff)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr, entry.change_message) == (staff, "FF_A", "Switch on: switched on.")


def test_a_press_leads_back_to_the_list_as_it_was_filtered(staff_client):
    flag = FeatureFlagFactory.create(codename="FF_A")
    html = staff_client.get(LIST, {"is_active__exact": "0", "q": "FF_"}).content.decode()
    address = re.search(r'formaction="([^"]+/switch/on/[^"]*)"', html)[1]

    response = staff_client.post(address, {"_from": "list", "action": "switch_off", "_selected_action": flag.pk})

    assert response.headers["Location"] == f"{LIST}?is_active__exact=0&q=FF_"
    flag.refresh_from_db()
    assert flag.is_active


@pytest.mark.parametrize("given", ["?_changelist_filters=//evil.example", "?next=//evil.example"])
def test_no_request_leads_to_another_site(staff_client, given):
    flag = FeatureFlagFactory.create()

    response = staff_client.post(page(flag, "switch/on") + given, {"_from": "list", "next": "https://evil.example"})

    assert response.headers["Location"].startswith(LIST)


def test_a_press_on_the_page_leads_back_to_the_page(staff_client):
    flag = FeatureFlagFactory.create(on=True)

    response = staff_client.post(page(flag, "switch/off"))

    assert response.headers["Location"] == page(flag)


def test_a_stale_page_changes_nothing_and_says_so(staff_client):
    flag = FeatureFlagFactory.create(codename="FF_A", on=True)
    before = FlagSetState.objects.get().revision

    response = staff_client.post(page(flag, "switch/on"), {"_from": "list"}, follow=True)

    assert told(response) == ["“FF_A”: on already."]
    assert FlagSetState.objects.get().revision == before
    assert not LogEntry.objects.exists()


def test_looking_never_switches(staff_client):
    flag = FeatureFlagFactory.create()

    response = staff_client.get(page(flag, "switch/on"))

    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    flag.refresh_from_db()
    assert not flag.is_active


def test_a_press_without_csrf_token_is_refused(staff):
    flag, client = FeatureFlagFactory.create(), Client(enforce_csrf_checks=True)
    client.force_login(staff)

    assert client.post(page(flag, "switch/on")).status_code == 403
    assert flag.revisions.count() == 1


@pytest.mark.django_db
def test_a_stranger_is_asked_to_sign_in(client):
    flag = FeatureFlagFactory.create()

    response = client.post(page(flag, "switch/on"))

    assert response.status_code == 302
    assert reverse("admin:login") in response.headers["Location"]
    assert flag.revisions.count() == 1


@pytest.mark.parametrize(
    "permissions", [["view_featureflag"], ["view_featureflag", "change_featureflag"], ["switch_featureflag"]]
)
def test_a_forged_press_is_forbidden(client, db, permissions):
    flag = FeatureFlagFactory.create()
    client.force_login(make_staff("forger@example.org", *permissions))

    assert client.post(page(flag, "switch/on")).status_code == 403
    assert client.post(LIST, {"action": "switch_on", "_selected_action": flag.pk}).status_code == 403
    assert flag.revisions.count() == 1


def test_buttons_one_may_not_press_are_absent(client, db):
    flag = FeatureFlagFactory.create()
    client.force_login(make_staff("viewer@example.org", "view_featureflag"))

    for address in (LIST, page(flag)):
        response = client.get(address)
        assert response.status_code == 200
        assert b"switch/on" not in response.content
        assert b"switch_on" not in response.content


def test_the_list_offers_the_one_button_that_makes_sense(staff_client):
    on, off = FeatureFlagFactory.create(on=True), FeatureFlagFactory.create()

    html = staff_client.get(LIST).content.decode()

    assert page(on, "switch/off") in html
    assert page(on, "switch/on") not in html
    assert page(off, "switch/on") in html
    assert "verb_buttons" in html


def test_pages_hold_no_form_in_a_form_and_nothing_inline(staff_client):
    flag = FeatureFlagFactory.create()

    for address in (LIST, page(flag), f"{LIST}add/"):
        html = staff_client.get(address).content.decode()
        depth = 0
        for tag in re.findall(r"<(/?)form\b", html):
            depth += -1 if tag else 1
            assert depth in (0, 1)
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\bsrc=)[^>]*>", html)


def test_a_press_of_an_unknown_flag_leads_home_with_a_message(staff_client):
    response = staff_client.post(f"{LIST}999999/switch/on/", follow=True)

    assert "doesn’t exist" in told(response)[0]


def test_saving_the_form_edits_through_the_verb(staff_client, staff):
    flag = FeatureFlagFactory.create(codename="FF_A")

    response = staff_client.post(page(flag), form(label="New <b>", is_active="on", codename="FF_OTHER"))

    assert response.status_code == 302
    flag.refresh_from_db()
    assert (flag.codename, flag.label, flag.description, flag.is_active) == ("FF_A", "New <b>", None, False)
    revision = flag.revisions.latest("id")
    assert (revision.action, revision.door, revision.diff) == ("edit", "admin", {"label": [None, "New <b>"]})
    assert LogEntry.objects.get().user == staff
    assert b"New &lt;b&gt;" in staff_client.get(page(flag)).content


def test_adding_creates_through_the_verb(staff_client, staff):
    response = staff_client.post(f"{LIST}add/", form(codename="FF_NEW", label="New", is_active="on"), follow=True)

    assert response.status_code == 200
    flag = services.get("FF_NEW")
    assert (flag.is_active, flag.created_by) == (False, staff.pk.hex)
    assert flag.revisions.get().door == FlagRevision.Door.ADMIN
    assert LogEntry.objects.get().object_id == str(flag.pk)


@pytest.mark.parametrize("codename", ["ff_enable_registration", "no blanks", "a\x00b", ""])
def test_adding_shows_what_is_wrong_beside_the_field(staff_client, codename):
    response = staff_client.post(f"{LIST}add/", form(codename=codename))

    assert response.status_code == 200
    assert response.context["errors"]
    assert FeatureFlag.objects.count() == 1


def test_a_refusal_while_saving_becomes_a_message(staff_client, monkeypatch):
    flag = FeatureFlagFactory.create()
    # Somebody deletes the row between the form's checks and the verb.
    edit = services.edit

    def late(flag, **fields):
        FeatureFlag.objects.filter(pk=flag.pk).delete()
        return edit(flag, **fields)

    monkeypatch.setattr(services, "edit", late)
    response = staff_client.post(page(flag), form(label="New"))
    monkeypatch.undo()

    assert response.status_code == 302
    assert told(staff_client.get(LIST)) == ["Invalid FF selected, codename does not exist."]
    assert flag.revisions.count() == 1


def test_flags_cannot_be_deleted(staff_client):
    flag = FeatureFlagFactory.create()

    assert staff_client.post(page(flag, "delete"), {"post": "yes"}).status_code == 403
    assert b"delete_selected" not in staff_client.get(LIST).content


def test_the_page_tells_the_history_newest_first(staff_client, staff):
    flag = FeatureFlagFactory.create(codename="FF_A")
    services.switch(flag, on=True, by=staff, reason="a & b", door=FlagRevision.Door.ADMIN)

    response = staff_client.get(page(flag))

    history = response.content.decode().split('id="flag-history"')[1]
    assert history.index("active: off → on") < history.index("created")
    assert "a &amp; b" in history
    assert "staff@example.org" in history
    assert "command:test" in history


def test_a_long_history_is_cut(staff_client, monkeypatch):
    monkeypatch.setattr("feature_flags.admin.HISTORY_SHOWN", 3)
    flag = FeatureFlagFactory.create()
    for state in (True, False, True, False):
        services.switch(flag, on=state, **COMMAND)

    response = staff_client.get(page(flag))

    assert len(response.context["flag_history"]) == 3
    assert b"Only the newest 3" in response.content


def test_a_selection_is_switched_flag_by_flag(staff_client):
    on, off, other = FeatureFlagFactory.create(on=True), FeatureFlagFactory.create(), FeatureFlagFactory.create()
    data = {"action": "switch_on", "_selected_action": [on.pk, off.pk], "index": "0"}

    response = staff_client.post(LIST, data, follow=True)

    assert told(response) == ["1 feature flag: switched on.", "1 feature flag: on already."]
    assert set(FeatureFlag.objects.filter(is_active=True)) >= {on, off}
    assert not FeatureFlag.objects.get(pk=other.pk).is_active
    assert LogEntry.objects.get().object_id == str(off.pk)


def test_the_list_costs_the_same_however_long_it_is(staff_client, django_assert_max_num_queries):
    for _ in range(30):
        FeatureFlagFactory.create()

    with django_assert_max_num_queries(12) as counted:
        staff_client.get(LIST)
    few = len(counted)
    for _ in range(10):
        FeatureFlagFactory.create()
    with django_assert_max_num_queries(few):
        staff_client.get(LIST)
