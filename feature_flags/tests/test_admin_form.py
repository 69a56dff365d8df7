"""The page of a flag: one form, one save, one revision; rows without script; refusals that keep what was typed."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from feature_flags import flag_document
from feature_flags.models import FeatureFlag, FlagRevision, FlagUsage
from feature_flags.services import editing, segments
from feature_flags.tests.factories import (
    COMMAND,
    FeatureFlagFactory,
    break_flag,
    document_of,
    make_staff,
    rewrite_rules,
)
from feature_flags.tests.pages import FLAGS, filled, page, told

ADD = f"{FLAGS}add/"
EVERYTHING = {
    "label": "All of it",
    "description": "a\nb",
    "value_type": "object",
    "off_value": {"a": [1]},
    "rollout_percent": 30,
    "stickiness": "email",
    "kind": "experiment",
    "owner": "team",
    "tags": ["b", "a"],
    "review_on": "2030-01-31",
    "exposed": False,
    "impression_data": True,
    "targets": {"on": ["u1", "u2"], "off": ["u3"]},
    "prerequisites": [{"parent": "FF_PARENT", "required": True, "variants": ["x"]}],
    "variants": [{"name": "blue", "weight": 3, "payload": {"c": "ü"}}, {"name": "red", "payload": [1]}],
    "rules": [
        {
            "label": "one",
            "is_enabled": False,
            "rollout_percent": 7,
            "stickiness": "random",
            "group_id": "group",
            "segments": ["Invited"],
            "constraints": [
                {"field": "country", "operator": "IN", "values": ["IT", "a,b"], "inverted": True},
                {"field": "country", "operator": "IN", "values": ["a,b"]},
                {
                    "field": "city",
                    "operator": "STR_CONTAINS",
                    "values": ["a", "b\nc", "[d]"],
                    "case_insensitive": True,
                },
                {"field": "age", "operator": "NUM_GTE", "value": "7"},
                {"field": "name", "operator": "REGEX", "value": " ^a, b$ "},
            ],
            "variants": [{"name": "green", "payload": {}}],
        },
        {},
    ],
}


def everything():
    editing.create("FF_PARENT", **COMMAND)
    segments.create_segment("Invited", **COMMAND)
    return editing.create("FF_ALL", **EVERYTHING, **COMMAND)


def save(client, flag, **changes):
    return post(client, flag, {"_continue": "1", **changes})


def post(client, flag, changes):
    return client.post(page(flag), {**filled(client.get(page(flag))), **changes}, follow=True)


def test_saving_the_form_edits_through_the_verb(staff_client, staff):
    flag = FeatureFlagFactory.create(codename="FF_A")

    response = save(staff_client, flag, label="New <b>", is_active="on", codename="FF_OTHER", reason="better")

    assert told(response) == ["“FF_A”: saved."]
    flag.refresh_from_db()
    assert (flag.codename, flag.label, flag.description, flag.is_active) == ("FF_A", "New <b>", None, False)
    revision = flag.revisions.latest("id")
    assert (revision.action, revision.door, revision.diff) == ("edit", "admin", {"label": [None, "New <b>"]})
    assert (revision.actor, revision.reason) == (staff, "better")
    assert LogEntry.objects.get().change_message == "Saved: label. Reason: better"
    assert b"New &lt;b&gt;" in response.content


def test_a_save_that_changes_nothing_writes_nothing_whatever_the_flag_holds(staff_client):
    flag = everything()

    response = save(staff_client, flag)

    assert told(response) == ["“FF_ALL”: nothing to save."]
    assert flag.revisions.count() == 1
    assert not LogEntry.objects.exists()


def test_changing_one_member_leaves_the_others_as_they_are(staff_client):
    flag = everything()
    before = document_of(flag)

    save(staff_client, flag, **{"rules-0-constraints-0-values": "IT\r\nFR", "rules-1-label": "two"})

    after = document_of(flag)
    assert flag_document.diff(before, after).keys() == {"rules"}
    expected = {"field": "country", "operator": "IN", "values": ["IT", "FR"], "inverted": True}
    assert after["rules"][0]["constraints"][0] == {**expected, "case_insensitive": False}
    assert after["rules"][0]["constraints"][1:] == before["rules"][0]["constraints"][1:]
    assert (after["rules"][1]["label"], after["rules"][0]["group_id"]) == ("two", "group")
    assert flag.revisions.count() == 2


def test_what_a_form_cannot_spell_stays_as_it_is_stored(staff_client):
    constraint = {"field": "age", "operator": "NUM_GT", "value": "7", "values": []}
    flag = editing.create("FF_A", description=" a ", rules=[{"constraints": [constraint]}], **COMMAND)

    save(staff_client, flag, label="New")

    assert flag.revisions.latest("id").diff == {"label": [None, "New"]}


def test_a_whole_flag_can_be_typed_in_one_save(staff_client):
    segments.create_segment("Invited", **COMMAND)
    FeatureFlagFactory.create(codename="FF_PARENT")
    data = filled(staff_client.get(ADD))
    for button in ("add rules", "add rules-0-constraints", "add rules-0-variants", "add variants", "add prerequisites"):
        response = staff_client.post(ADD, {**data, "_rows": button})
        # The browser takes the first it finds.
        assert response.content.decode().count(" autofocus") == 1
        data = filled(response)
    typed = {
        "codename": "FF_NEW",
        "label": "New",
        "value_type": "float",
        "off_value": "1",
        "targets_on": "u2, u1",
        "tags": "b, a",
        "rules-0-segments": "Invited",
        "rules-0-rollout_percent": "20",
        "rules-0-constraints-0-field": "country",
        "rules-0-constraints-0-values": "IT, FR",
        "rules-0-variants-0-name": "own",
        "rules-0-variants-0-payload": "7",
        "variants-0-name": "blue",
        "variants-0-payload": "2.5",
        "prerequisites-0-parent": "FF_PARENT",
    }

    response = staff_client.post(ADD, {**data, **typed, "_save": "1"}, follow=True)

    flag = editing.get("FF_NEW")
    assert told(response) == ["“FF_NEW”: created."]
    assert response.redirect_chain == [(page(flag), 302)]
    document = document_of(flag)
    rule = document["rules"][0]
    assert (rule["segments"], rule["rollout_percent"], rule["group_id"]) == (["Invited"], 20, "FF_NEW")
    assert rule["constraints"][0]["values"] == ["IT", "FR"]
    assert rule["variants"] == [{"name": "own", "weight": 1, "payload": 7.0, "written_as": None}]
    assert (document["off_value"], document["targets"]["on"], document["tags"]) == (1.0, ["u1", "u2"], ["a", "b"])
    assert document["prerequisites"] == [{"parent": "FF_PARENT", "required": True, "variants": []}]
    assert not document["is_active"]
    assert flag.revisions.count() == 1


def test_adding_creates_through_the_verb(staff_client, staff):
    data = filled(staff_client.get(ADD))

    staff_client.post(ADD, {**data, "codename": "FF_NEW", "is_active": "on", "_save": "1"})

    flag = editing.get("FF_NEW")
    assert (flag.is_active, flag.created_by) == (False, staff.pk.hex)
    assert flag.revisions.get().door == FlagRevision.Door.ADMIN
    assert LogEntry.objects.get().object_id == str(flag.pk)


def test_adding_shows_what_is_wrong_and_keeps_the_rest(staff_client, subtests):
    data = {**filled(staff_client.get(ADD)), "label": "Kept", "_save": "1"}

    for codename in ["no blanks", "a\x00b", "", "a" * 101, "ff_enable_registration"]:
        with subtests.test(codename[:30]):
            response = staff_client.post(ADD, {**data, "codename": codename})

            assert response.status_code == 200
            assert response.context["has_errors"]
            assert 'value="Kept"' in response.content.decode()
            assert FeatureFlag.objects.count() == 1


def test_a_kill_switch_is_protected_from_the_start(staff_client):
    staff_client.post(ADD, {**filled(staff_client.get(ADD)), "codename": "FF_K", "kind": "kill_switch", "_save": "1"})

    assert editing.get("FF_K").is_protected


# --- Rows -------------------------------------------------------------------------------------------------------------


def test_rows_are_added_moved_and_removed_without_saving(staff_client):
    flag = FeatureFlagFactory.create()
    data = filled(staff_client.get(page(flag)))

    def press(button, **typed):
        nonlocal data
        response = staff_client.post(page(flag), {**data, **typed, "_rows": button})
        assert response.status_code == 200
        data = filled(response)
        return response.content.decode()

    html = press("add rules", label="typed")
    assert re.search(r'name="rules-0-label"[^>]* autofocus', html)
    press("add rules", **{"rules-0-label": "first"})
    press("add rules-1-constraints", **{"rules-1-label": "second"})
    press("add rules-1-constraints", **{"rules-1-constraints-0-field": "a"})
    html = press("up rules-1-constraints-1", **{"rules-1-constraints-1-field": "b"})
    assert re.search(r'value="down rules-1-constraints-0"[^>]* autofocus', html)
    assert (data["rules-1-constraints-0-field"], data["rules-1-constraints-1-field"]) == ("b", "a")
    press("up rules-1")
    assert (data["rules-0-label"], data["rules-1-label"], data["label"]) == ("second", "first", "typed")
    assert data["rules-0-constraints-1-field"] == "a"
    html = press("remove rules-0")
    assert re.search(r'value="remove rules-0"[^>]* autofocus', html)
    assert data["rules-0-label"] == "first"
    assert "rules-1-label" not in data
    press("remove rules-0")

    assert flag.revisions.count() == 1
    assert not LogEntry.objects.exists()


def test_a_button_we_do_not_have_does_nothing(staff_client, subtests):
    flag = FeatureFlagFactory.create(rules=[{"label": "one"}])
    data = filled(staff_client.get(page(flag)))

    for button in [
        "",
        "add",
        "add nothing",
        "add rules-5-constraints",
        "remove rules",
        "remove rules-9",
        "up rules-0",
        "3",
        "add 3",
        "add rules-" + "9" * 5000,
        "add rules-0",
        "remove rules-٣",
        "up rules-0-constraints",
        "add rules-0-label",
        "x rules-0",
        "add rules-0-constraints-0-rules",
        "add \x00",
    ]:
        with subtests.test(button[:40]):
            response = staff_client.post(page(flag), {**data, "_rows": button})

            assert response.status_code == 200
            assert filled(response) == data


def test_values_are_read_as_they_look(staff_client):
    typed = {
        ("IT, FR,", "IN"): ["IT", "FR"],
        ("IT \r\n\r\n FR,DE", "IN"): ["IT", "FR,DE"],
        ('["a b", "c,d"]', "IN"): ["a b", "c,d"],
        ("[a]", "IN"): ["[a]"],
        ("7", "NUM_GT"): "7",
        ("a, b\r\n", "REGEX"): "a, b",
        ("10.0.0.0/8, ::1", "IN_CIDR"): ["10.0.0.0/8", "::1"],
    }
    constraints = [{"field": "a", "operator": "IN", "values": ["x"]}] * len(typed)
    flag = FeatureFlagFactory.create(rules=[{"constraints": constraints}])

    changes = {}
    for number, (text, operator) in enumerate(typed):
        changes[f"rules-0-constraints-{number}-values"] = text
        changes[f"rules-0-constraints-{number}-operator"] = operator
    save(staff_client, flag, **changes)

    stored = document_of(flag)["rules"][0]["constraints"]
    assert [one.get("values", one.get("value")) for one in stored] == list(typed.values())


def test_operators_are_offered_by_kind_and_fields_by_name(staff_client):
    flag = FeatureFlagFactory.create(rules=[{"constraints": [{"field": "a", "operator": "IN", "values": ["x"]}]}])

    html = staff_client.get(page(flag)).content.decode()

    assert re.findall(r'<optgroup label="(\w+)"', html) == ["Text", "Number", "Date", "Version", "Pattern", "Network"]
    assert '<option value="emailDomain">' in html


def test_a_percentage_of_registration_is_placed_by_email(staff_client):
    flag = editing.get("FF_ENABLE_REGISTRATION")

    response = staff_client.post(page(flag), {**filled(staff_client.get(page(flag))), "_rows": "add rules"})

    assert filled(response)["rules-0-stickiness"] == "email"
    assert "place percentages by email" in response.content.decode()


# --- What is wrong ----------------------------------------------------------------------------------------------------


def test_what_is_wrong_stands_beside_its_field(staff_client, subtests):
    constraints = [{"field": "a", "operator": "IN", "values": ["x"]}, {"field": "b", "operator": "IN", "values": ["y"]}]
    parts = {"rules": [{"constraints": constraints, "variants": [{"name": "v"}]}], "variants": [{"name": "w"}]}
    FeatureFlagFactory.create(codename="FF_PARENT")
    flag = FeatureFlagFactory.create(**parts, prerequisites=[{"parent": "FF_PARENT"}])
    data = {**filled(staff_client.get(page(flag))), "label": "Kept", "_save": "1"}

    for name, given, message in [
        ("rules-0-constraints-1-values", "", "Give at least one value."),
        ("rules-0-constraints-0-field", "", "Name the field to look at."),
        ("rules-0-constraints-0-operator", "LIKE", "Choose one of the operators offered."),
        ("rules-0-constraints-0-case_insensitive", "on", "only matter to text operators"),
        ("rules-0-rollout_percent", "101", "less than or equal to 100"),
        ("rules-0-label", "a" * 201, "at most 200"),
        ("rules-0-variants-0-name", "a b", "A codename starts with"),
        ("rules-0-variants-0-weight", "0", "greater than or equal to 1"),
        ("variants-0-payload", "x", "Variants of a boolean flag carry no payload."),
        ("variants-0-name", "disabled", "what clients call"),
        ("prerequisites-0-parent", "FF_NONE", "There is no flag FF_NONE."),
        ("prerequisites-0-parent", "a\x00", "Null characters are not allowed."),
        ("off_value", "1", "A boolean flag is false when off"),
        ("targets_on", "a\r\nb\r\na", "stands there twice"),
        ("tags", "a" * 51, "at most 50"),
        ("review_on", "tomorrow", "Enter a valid date."),
        ("rollout_percent", "9" * 5000, "Enter a whole number"),
        ("kind", "weird", "Select a valid choice"),
        ("label", "a\x00b", "Null characters are not allowed."),
        ("owner", "a" * 101, "at most 100"),
    ]:
        with subtests.test(name, given=given[:30]):
            response = staff_client.post(page(flag), {**data, name: given})

            html = response.content.decode()
            assert response.status_code == 200
            field = re.search(
                rf'name="{name}".*?(?=<div class="(?:part-field|row-buttons|part-checks)|</fieldset>|</details>)',
                html,
                re.DOTALL,
            )[0]
            assert message in re.sub(r"&#x27;", "'", field)
            assert name == "label" or 'value="Kept"' in html
            assert flag.revisions.count() == 1


def test_sections_with_something_in_them_or_wrong_are_open(staff_client):
    flag = FeatureFlagFactory.create(variants=[{"name": "v"}])
    plain = staff_client.get(page(flag)).context["open"]

    wrong = save(staff_client, flag, off_value="1").context["open"]

    assert {name for name, is_open in plain.items() if is_open} == {"variants"}
    assert {name for name, is_open in wrong.items() if is_open} == {"variants", "values"}


def test_payloads_are_read_by_the_type_of_the_flag(staff_client):
    flag = FeatureFlagFactory.create(value_type="object", variants=[{"name": "v", "payload": {}}])

    data = filled(staff_client.get(page(flag)))
    for bad in ("", "{", "7", "[" * 100_000, "1" * 5000, '"\\u0000"', '{"a": NaN}'):
        response = staff_client.post(page(flag), {**data, "variants-0-payload": bad, "_save": "1"})
        assert response.context["has_errors"], bad
    save(staff_client, flag, **{"variants-0-payload": '{"a": [1, 2.5, "ü"]}'})

    assert document_of(flag)["variants"][0]["payload"] == {"a": [1, 2.5, "ü"]}


def test_a_refusal_while_saving_is_shown(staff_client, monkeypatch):
    flag = FeatureFlagFactory.create()
    # Somebody deletes the row between the page's look-up and the verb.
    edit = editing.edit

    def late(flag, changes, **more):
        FeatureFlag.objects.filter(pk=flag.pk).delete()
        return edit(flag, changes, **more)

    monkeypatch.setattr(editing, "edit", late)
    response = staff_client.post(page(flag), {**filled(staff_client.get(page(flag))), "label": "New", "_save": "1"})

    assert response.status_code == 200
    assert "Invalid FF selected, codename does not exist." in response.content.decode()


def test_chains_of_prerequisites_are_refused_in_words(staff_client):
    editing.create("FF_A", **COMMAND)
    editing.create("FF_B", prerequisites=[{"parent": "FF_A"}], **COMMAND)
    flag = editing.create("FF_C", prerequisites=[{"parent": "FF_A"}], **COMMAND)

    response = save(staff_client, flag, **{"prerequisites-0-parent": "FF_B"})

    assert "Prerequisites have one level." in response.content.decode()


# --- Somebody was quicker ---------------------------------------------------------------------------------------------


def test_a_stale_form_is_refused_shows_what_happened_and_keeps_what_was_typed(staff_client):
    flag = FeatureFlagFactory.create(codename="FF_A")
    mine = {**filled(staff_client.get(page(flag))), "label": "Mine", "owner": "me", "_continue": "1"}
    editing.edit(flag, {"label": "Theirs", "description": "New"}, **COMMAND, reason="in a hurry")

    response = staff_client.post(page(flag), mine)

    html = response.content.decode()
    assert flag.revisions.count() == 2
    for text in ("command:test", "in a hurry", "label: – → Theirs", "description: – → New", "label: Theirs → Mine"):
        assert text in html
    assert "Changed by both: label." in html
    kept = filled(response)
    assert (kept["label"], kept["owner"], kept["description"]) == ("Mine", "me", "New")

    again = staff_client.post(page(flag), {**kept, "_continue": "1"}, follow=True)

    flag.refresh_from_db()
    assert told(again) == ["“FF_A”: saved."]
    assert (flag.label, flag.owner, flag.description) == ("Mine", "me", "New")


def test_a_switch_by_somebody_else_makes_a_form_stale_too(staff_client):
    flag = FeatureFlagFactory.create()
    mine = {**filled(staff_client.get(page(flag))), "label": "Mine", "_save": "1"}
    editing.switch(flag, on=True, **COMMAND)

    html = staff_client.post(page(flag), mine).content.decode()

    assert "active: off → on" in html
    flag.refresh_from_db()
    assert flag.label is None


def test_a_form_without_its_base_counts_as_stale(staff_client, subtests):
    flag = FeatureFlagFactory.create()
    data = {**filled(staff_client.get(page(flag))), "label": "New", "_save": "1"}

    for base in ["", "x", "-1", "9" * 30, "٣"]:
        with subtests.test(base):
            response = staff_client.post(page(flag), {**data, "base": base})

            assert response.status_code == 200
            assert "Not saved" in response.content.decode()
            assert flag.revisions.count() == 1


# --- Large steps ------------------------------------------------------------------------------------------------------


def test_a_large_step_of_a_flag_that_is_on_asks_once_more(staff_client):
    flag = FeatureFlagFactory.create(codename="FF_A", rollout_percent=10, is_active=True)

    asked = save(staff_client, flag, rollout_percent="61")
    assert "The rollout of the flag goes from 10 % to 61 % at once." in asked.content.decode()
    assert flag.revisions.count() == 1
    changed = staff_client.post(page(flag), {**filled(asked), "rollout_percent": "100", "_save": "1"})
    assert "from 10 % to 100 %" in changed.content.decode()
    told_ = told(staff_client.post(page(flag), {**filled(changed), "reason": "go", "_save": "1"}, follow=True))

    flag.refresh_from_db()
    assert told_ == ["“FF_A”: saved."]
    assert (flag.document["rollout_percent"], flag.revisions.latest("id").reason) == (100, "go")


@pytest.mark.parametrize(
    ("on", "before", "changes"),
    [
        (True, {"rollout_percent": 10}, {"rollout_percent": "60"}),
        (False, {"rollout_percent": 10}, {"rollout_percent": "100"}),
        (True, {"rules": [{"rollout_percent": 10}]}, {"rollout_percent": "0"}),
    ],
)
def test_small_steps_and_those_that_nobody_notices_are_saved_at_once(staff_client, on, before, changes):
    flag = FeatureFlagFactory.create(is_active=on, **before)

    save(staff_client, flag, **changes)

    assert flag.revisions.count() == 2


def test_rules_take_large_steps_too(staff_client):
    flag = FeatureFlagFactory.create(
        is_active=True, rollout_percent=80, rules=[{"label": "Beta", "rollout_percent": 10}]
    )

    stepped = save(staff_client, flag, **{"rules-0-rollout_percent": "90"}).content.decode()
    data = filled(staff_client.post(page(flag), {**filled(staff_client.get(page(flag))), "_rows": "remove rules-0"}))
    removed = staff_client.post(page(flag), {**data, "_save": "1"}).content.decode()

    assert "The rollout of Beta goes from 10 % to 90 % at once." in stepped
    assert "Without rules the flag goes to 80 % of everybody." in removed
    assert flag.revisions.count() == 1


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_whoever_may_only_look_sees_fields_that_are_off_and_cannot_save(client, db):
    flag = FeatureFlagFactory.create()
    client.force_login(make_staff("viewer@example.org", "view_featureflag"))

    response = client.get(page(flag))
    posts = [client.post(page(flag), {**filled(response), name: "1"}) for name in ("_save", "_rows")]

    html = response.content.decode()
    assert '<fieldset class="plain" disabled>' in html
    assert 'name="_continue"' not in html
    assert "schedule-at" not in html
    assert [answer.status_code for answer in posts] == [403, 403]
    assert client.get(ADD).status_code == client.post(ADD, {"_save": "1"}).status_code == 403
    assert client.get(f"{FLAGS}999999/change/").status_code == 302


def test_an_archived_flag_is_shown_and_not_changed(staff_client):
    flag = FeatureFlagFactory.create()
    data = filled(staff_client.get(page(flag)))
    editing.archive(flag, **COMMAND)

    assert '<fieldset class="plain" disabled>' in staff_client.get(page(flag)).content.decode()
    assert staff_client.post(page(flag), {**data, "label": "New", "_save": "1"}).status_code == 403


def test_the_page_says_who_depends_on_it(staff_client):
    flag = editing.create("FF_A", **COMMAND)
    child = editing.create("FF_B", prerequisites=[{"parent": "FF_A"}], **COMMAND)

    html = staff_client.get(page(flag)).content.decode()

    assert f'href="{page(child)}">FF_B</a>, which requires this flag.' in html


def test_a_broken_flag_says_so_and_can_be_repaired(staff_client):
    flag = break_flag(editing.create("FF_A", rules=[{}], is_active=True, **COMMAND))

    shown = staff_client.get(page(flag))
    refused = save(staff_client, flag, label="New")
    repaired = save(staff_client, flag, **{"rules-0-constraints-0-values": "7"})

    assert "This flag is off for everybody, because it cannot be read: rule 1" in shown.content.decode()
    assert "is no number" in refused.content.decode()
    assert told(repaired) == ["“FF_A”: saved."]
    assert "cannot be read" not in repaired.content.decode()


def test_the_page_draws_the_use_of_a_week(staff_client):
    flag, now = FeatureFlagFactory.create(codename="FF_A"), timezone.now()
    for hours, app, yes in ((0, "web", 1200), (0, "shop", 34), (30, "web", 999)):
        hour = (now - timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)
        FlagUsage.objects.create(codename="FF_A", hour=hour, app_name=app, yes=yes, no=5)

    chart = staff_client.get(page(flag)).context["chart"]

    assert [each.total for each in chart.series] == [2233, 15]


def test_a_page_of_many_rules_costs_as_many_queries_as_one_of_few(staff_client, django_assert_max_num_queries):
    few = editing.create("FF_FEW", rules=[{}], **COMMAND)
    many = editing.create("FF_MANY", rules=[{"variants": [{"name": "v"}]}] * 20, **COMMAND)
    staff_client.get(page(few))

    with django_assert_max_num_queries(40) as counted:
        staff_client.get(page(few))
    with django_assert_max_num_queries(len(counted)):
        staff_client.get(page(many))


def test_the_page_says_what_a_context_has_to_bring_and_what_means_two_things(staff_client):
    age = {"field": "age", "operator": "NUM_GT", "value": "7"}
    rule = {"constraints": [age], "rollout_percent": 50, "stickiness": "email"}
    flag = FeatureFlagFactory.create(rules=[rule], targets={"on": ["u1"]})

    html = staff_client.get(page(flag)).content.decode()

    assert "<li>age: a plain number such as 7 or 7.5" in html
    assert "<li>email: a text of plain ASCII that is not empty" in html
    assert "<li>userId: a text at the top level of the context" in html
    assert "in two ways" not in html
    rewrite_rules(flag, constraints=[{"field": "city", "operator": "IN", "values": ["Rome "]}])
    assert "takes blanks off around a value" in staff_client.get(page(flag)).content.decode()
