import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision, FlagSeen, FlagSetState, FlagUsage
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, break_flag, make_staff
from feature_flags.tests.pages import FLAGS, page, told
from lib.hourly import hour_of

LIST = FLAGS


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
    address = re.search(r'formaction="([^"]+/switch/on/)"', html)[1]
    filters = unescape(re.search(r'name="_changelist_filters" value="([^"]*)"', html)[1])

    given = {"_from": "list", "_changelist_filters": filters, "action": "switch_off", "_selected_action": flag.pk}
    response = staff_client.post(f"{LIST}{address}", given)

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

    assert f'formaction="{on.pk}/switch/off/"' in html
    assert f'formaction="{on.pk}/switch/on/"' not in html
    assert f'formaction="{off.pk}/switch/on/"' in html
    assert "field-verbs" in html


def test_the_page_of_a_flag_asks_the_database_twelve_times_at_most(client, superuser, django_assert_max_num_queries):
    flag = FeatureFlagFactory.create(on=True)
    client.force_login(superuser)
    client.get(page(flag))

    with django_assert_max_num_queries(12):
        assert client.get(page(flag)).status_code == 200


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


def test_a_selection_is_switched_flag_by_flag(staff_client):
    on, off, other = FeatureFlagFactory.create(on=True), FeatureFlagFactory.create(), FeatureFlagFactory.create()
    data = {"action": "switch_on", "_selected_action": [on.pk, off.pk], "index": "0"}

    response = staff_client.post(LIST, data, follow=True)

    assert told(response) == ["1 feature flag: switched on.", "1 feature flag: on already."]
    assert set(FeatureFlag.objects.filter(is_active=True)) >= {on, off}
    assert not FeatureFlag.objects.get(pk=other.pk).is_active
    assert LogEntry.objects.get().object_id == str(off.pk)


# --- Protected flags, Undo --------------------------------------------------------------------------------------------


def test_a_protected_flag_says_what_will_happen_and_insists_on_a_reason(staff_client):
    flag = editing.get("FF_ENABLE_REGISTRATION")

    asked = staff_client.post(page(flag, "switch/off"), {"_from": "list"})
    refused = staff_client.post(page(flag, "switch/off"), {"_from": "list", "reason": " "})
    assert "It goes off for everybody" in asked.content.decode()
    assert "Say why." in refused.content.decode()
    assert editing.get("FF_ENABLE_REGISTRATION").is_active
    done = staff_client.post(page(flag, "switch/off"), {"_from": "list", "reason": "Spam"}, follow=True)

    assert told(done) == ["“FF_ENABLE_REGISTRATION”: switched off."]
    assert done.context["undo"] is None
    assert flag.revisions.latest("id").reason == "Spam"
    assert LogEntry.objects.get().change_message == "Switch off: switched off. Reason: Spam"


def test_a_selection_with_a_protected_flag_is_asked_once(staff_client):
    flags = [FeatureFlagFactory.create(), FeatureFlagFactory.create(is_protected=True)]
    data = {"action": "switch_on", "_selected_action": [flag.pk for flag in flags], "index": "0"}

    asked = staff_client.post(LIST, data)
    assert "Say why." not in asked.content.decode()
    assert not FeatureFlag.objects.filter(pk__in=[flag.pk for flag in flags], is_active=True).exists()
    done = staff_client.post(LIST, {**data, "reason": "spring"}, follow=True)

    assert told(done) == ["2 feature flags: switched on."]
    assert [flag.revisions.latest("id").reason for flag in flags] == ["spring", "spring"]


@pytest.mark.parametrize(("start", "back_at"), [({"_from": "list"}, LIST), ({}, None)])
def test_a_switch_can_be_undone_on_the_next_page_only(staff_client, start, back_at):
    flag = FeatureFlagFactory.create(codename="FF_A")

    switched = staff_client.post(page(flag, "switch/on"), start, follow=True)
    html = switched.content.decode()
    again = staff_client.get(back_at or page(flag)).content.decode()

    assert switched.redirect_chain == [(back_at or page(flag), 302)]
    assert "Undo: switch off FF_A" in html
    assert "Undo" not in again
    undo = re.search(r'<form method="post" action="([^"]+)" class="undo">', html)[1]
    assert undo == page(flag, "switch/off")
    undone = staff_client.post(undo, start, follow=True)
    assert told(undone) == ["“FF_A”: switched off."]
    assert not FeatureFlag.objects.get(pk=flag.pk).is_active


def test_nothing_is_offered_to_undo_once_somebody_else_has_switched_or_deleted(staff_client):
    switched, gone = FeatureFlagFactory.create(), FeatureFlagFactory.create()

    staff_client.post(page(switched, "switch/on"), {"_from": "list"})
    editing.switch(switched, on=False, **COMMAND)
    first = staff_client.get(LIST)
    staff_client.post(page(gone, "switch/on"), {"_from": "list"})
    editing.delete(gone, **COMMAND)
    second = staff_client.get(LIST)

    assert first.context["undo"] is None
    assert second.context["undo"] is None


# --- Archive, rename, delete ------------------------------------------------------------------------------------------


def test_archiving_says_what_it_means_and_can_be_taken_back(chief_client):
    flag = FeatureFlagFactory.create(codename="FF_A", on=True)

    asked = chief_client.post(page(flag, "archive"))
    done = chief_client.post(page(flag, "archive"), {"reason": ""}, follow=True)
    listed, archived = chief_client.get(LIST), chief_client.get(LIST, {"archived": "yes"})
    back = chief_client.post(page(flag, "unarchive"), follow=True)

    assert "learns that there is no such flag" in asked.content.decode()
    assert told(done) == ["“FF_A”: archived."]
    assert [flag.codename for flag in listed.context["cl"].result_list] == ["FF_ENABLE_REGISTRATION"]
    assert [flag.codename for flag in archived.context["cl"].result_list] == ["FF_A"]
    assert told(back) == ["“FF_A”: taken out of the archive, off."]
    assert [entry.change_message for entry in LogEntry.objects.order_by("id")] == [
        "Archive: archived.",
        "Take out of the archive: taken out of the archive, off.",
    ]


def test_archiving_a_protected_flag_that_is_on_needs_a_reason(chief_client):
    flag = FeatureFlagFactory.create(is_protected=True, is_active=True)

    response = chief_client.post(page(flag, "archive"), {"reason": ""})

    assert "Say why." in response.content.decode()


def test_renaming_asks_for_the_name(chief_client):
    flag = FeatureFlagFactory.create(codename="FF_A")
    FeatureFlagFactory.create(codename="FF_B")

    asked = chief_client.post(page(flag, "rename"))
    empty = chief_client.post(page(flag, "rename"), {"codename": "", "reason": ""})
    refused = [
        told(chief_client.post(page(flag, "rename"), {"codename": name, "reason": ""}, follow=True))[0]
        for name in ("ff_b", "a b")
    ]
    nul = chief_client.post(page(flag, "rename"), {"codename": "a\x00", "reason": ""})
    done = chief_client.post(page(flag, "rename"), {"codename": "FF_C", "reason": "typo"}, follow=True)

    assert "New codename" in asked.content.decode()
    assert "Give it a name." in empty.content.decode()
    assert refused[0] == "“FF_A”: FF already exists."
    assert "A codename starts with" in refused[1]
    assert nul.status_code == 200
    assert told(done) == ["“FF_A”: renamed to FF_C."]
    assert editing.get("FF_C").revisions.latest("id").reason == "typo"


def test_declared_flags_cannot_be_renamed_archived_or_deleted(chief_client):
    flag = editing.get("FF_ENABLE_REGISTRATION")

    html = chief_client.get(page(flag)).content.decode()
    answers = [
        told(chief_client.post(page(flag, verb), {"codename": "FF_X", "reason": "x"}, follow=True))
        for verb in ("rename", "archive", "delete")
    ]

    assert not re.findall(r"verb-(rename|archive|delete)", html)
    assert all("declared in code" in messages[0] for messages in answers)


def test_only_what_is_archived_or_was_never_asked_for_can_be_deleted(chief_client):
    fresh, seen = FeatureFlagFactory.create(codename="FF_A"), FeatureFlagFactory.create(codename="FF_B")
    FlagSeen.objects.create(codename="FF_B")

    offered = [page(flag, "delete") in chief_client.get(page(flag)).content.decode() for flag in (fresh, seen)]
    done = chief_client.post(page(fresh, "delete"), {"reason": ""}, follow=True)
    refused = chief_client.post(page(seen, "delete"), {"reason": ""}, follow=True)

    assert offered == [True, False]
    assert done.redirect_chain == [(LIST, 302)]
    assert told(done) == ["“FF_A”: deleted."]
    assert told(refused) == ["“FF_B”: It has been asked for: archive it first."]
    assert FlagRevision.objects.filter(codename="FF_A", action="delete").exists()


@pytest.mark.parametrize(
    ("verb", "permission"),
    [
        ("switch/on", "switch_featureflag"),
        ("switch/off", "switch_featureflag"),
        ("rename", "change_featureflag"),
        ("archive", "archive_featureflag"),
        ("unarchive", "archive_featureflag"),
        ("delete", "archive_featureflag"),
    ],
)
def test_every_verb_has_its_permission(client, db, verb, permission):
    flag, others = FeatureFlagFactory.create(), {"switch_featureflag", "change_featureflag", "archive_featureflag"}
    client.force_login(make_staff("other@example.org", "view_featureflag", "add_featureflag", *(others - {permission})))

    assert client.post(page(flag, verb), {"reason": "x", "codename": "FF_X"}).status_code == 403
    assert client.get(page(flag, verb)).status_code == 405
    assert flag.revisions.count() == 1


def test_django_s_own_ways_to_delete_are_closed(staff_client, chief_client):
    flag = FeatureFlagFactory.create()

    assert b"delete_selected" not in chief_client.get(LIST).content
    assert chief_client.get(page(flag, "delete")).status_code == 405
    assert FeatureFlag.objects.filter(pk=flag.pk).exists()


# --- The list ---------------------------------------------------------------------------------------------------------


def names(response):
    return [flag.codename for flag in response.context["cl"].result_list]


def test_a_row_says_what_one_wants_to_know(staff_client):
    now = timezone.now()
    flag = FeatureFlagFactory.create(codename="FF_A", label="a & b", owner="team", rollout_percent=30, on=True)
    FeatureFlagFactory.create(
        codename="FF_B", rules=[{"rollout_percent": 5}, {"rollout_percent": 40}], is_protected=True
    )
    FeatureFlagFactory.create(codename="FF_C", rules=[{"is_enabled": False}])
    FeatureFlag.objects.filter(pk=flag.pk).update(created_at=now - timedelta(days=80))
    FlagSeen.objects.create(codename="FF_A", last_seen_at=now)
    FlagUsage.objects.create(codename="FF_A", hour=hour_of(now), app_name="x", yes=1200, no=7)

    html = staff_client.get(LIST, {"q": "FF_"}).content.decode()
    rows = {
        row[1]: row[0] for row in re.findall(r"(<tr>.*?>(FF_\w+) ?<.*?</tr>)", html.split('id="result_list"')[1], re.S)
    }

    for text in ('chip-active">on<', "a &amp; b", 'value="0.3"', "30 %", "release", "team", "1,200 yes, 7 no", "stale"):
        assert text in rows["FF_A"], text
    assert "older than the 40 days of its kind (release)" in rows["FF_A"]
    for text in ('chip-staff">off<', "protected", "2 rules, 5–40 %", 'value="0.4"', "never seen"):
        assert text in rows["FF_B"], text
    assert "stale" not in rows["FF_B"]
    assert "all rules disabled" in rows["FF_C"]


def test_filters_find_what_they_say(staff_client):
    old = FeatureFlagFactory.create(codename="FF_A", owner="team a", tags=["shop"], exposed=False, kind="experiment")
    FeatureFlagFactory.create(codename="FF_B", owner="team b", tags=["home"], value_type="string", is_protected=True)
    FeatureFlag.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=80))
    tag = old.tags.get().pk

    def found(**query):
        return [name for name in names(staff_client.get(LIST, query)) if name != "FF_ENABLE_REGISTRATION"]

    assert found() == ["FF_A", "FF_B"]
    for query in (
        {"stale": "yes"},
        {"owner": "team a"},
        {"kind__exact": "experiment"},
        {"value_type__exact": "boolean"},
        {"exposed__exact": "0"},
        {"is_protected__exact": "0"},
        {"tags__id__exact": tag},
        {"q": "shop"},
        {"q": "ff_a"},
    ):
        assert found(**query) == ["FF_A"], query
    assert found(stale="no") == ["FF_B"]
    assert found(archived="yes") == []
    assert found(archived="all") == ["FF_A", "FF_B"]


def test_no_query_breaks_the_list(staff_client):
    tagged = FeatureFlagFactory.create(tags=["a"])
    assert tagged.tags.exists()

    for query in [
        {"q": "a\x00b"},
        {"owner": "a\x00b"},
        {"stale": "perhaps"},
        {"archived": "9" * 5000},
        {"tags__id__exact": "9" * 40},
        {"tags__id__exact": "x"},
        {"kind__exact": "x" * 5000},
        {"p": "99999999999999999999"},
        {"o": "99.-99"},
    ]:
        assert staff_client.get(LIST, query).status_code in (200, 302, 400), query


def test_a_flag_that_cannot_be_read_is_marked_and_named(staff_client):
    break_flag(FeatureFlagFactory.create(codename="FF_A", rules=[{}], is_active=True))

    html = staff_client.get(LIST).content.decode()

    assert 'chip-off">broken<' in html
    assert '1 flag cannot be read and is off for everybody: <a href="?q=FF_A">FF_A</a>' in html


def test_a_selection_is_exported_with_the_segments_it_uses(chief_client):
    for name in ("Invited", "Other"):
        segments.create_segment(name, **COMMAND)
    flags = [
        editing.create("FF_A", rules=[{"segments": ["Invited"]}], **COMMAND),
        editing.create("FF_B", **COMMAND),
    ]
    editing.create("FF_C", **COMMAND)
    data = {"action": "export_json", "_selected_action": [flag.pk for flag in flags], "index": "0"}

    response = chief_client.post(LIST, data)

    assert response.headers["Content-Disposition"] == 'attachment; filename="feature-flags.json"'
    exported = response.json()
    assert [flag["codename"] for flag in exported["flags"]] == ["FF_A", "FF_B"]
    assert [segment["name"] for segment in exported["segments"]] == ["Invited"]
    assert not LogEntry.objects.exists()


def test_the_list_costs_the_same_however_long_it_is(chief_client, queries):
    for _ in range(5):
        FeatureFlagFactory.create(rules=[{}], tags=["a"], owner="team")
    chief_client.get(LIST)
    with queries() as few:
        chief_client.get(LIST)

    for number in range(5):
        FeatureFlagFactory.create(rules=[{}, {}], tags=["a"], owner=f"team {number}")
    with queries() as more:
        chief_client.get(LIST)

    assert few() == more() <= 13
