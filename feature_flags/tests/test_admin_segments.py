"""Segments: one page, one verb, and a word about whom a change reaches."""

import pytest
from django.contrib.admin.models import LogEntry

from feature_flags.models import Segment
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND, make_staff
from feature_flags.tests.pages import SEGMENTS, filled, page, told

ADD, FORM = f"{SEGMENTS}add/", "segment_form"
INVITED = [{"field": "email", "operator": "IN", "values": ["ada@example.org"]}]


def change(segment, end="change"):
    return f"{SEGMENTS}{segment.pk}/{end}/"


@pytest.fixture
def segment(db):
    return segments.create_segment("Invited", constraints=INVITED, **COMMAND)


def save(client, segment, **changes):
    data = filled(client.get(change(segment)), FORM)
    return client.post(change(segment), {**data, "_continue": "1", **changes}, follow=True)


def test_a_segment_is_made_of_rows(chief_client):
    data = filled(chief_client.get(ADD), FORM)
    data = filled(chief_client.post(ADD, {**data, "name": "Italians", "_rows": "add constraints"}), FORM)
    typed = {"constraints-0-field": "country", "constraints-0-values": "IT, SM"}

    response = chief_client.post(ADD, {**data, **typed, "_save": "1"}, follow=True)

    made = Segment.objects.get()
    assert told(response) == ["“Italians”: created."]
    assert made.constraints[0]["values"] == ["IT", "SM"]
    assert made.revisions.get().door == "admin"
    assert LogEntry.objects.get().object_id == str(made.pk)


@pytest.mark.parametrize("name", ["", "a\x00b", " ", "a" * 101, "Invited"])
def test_a_name_that_is_none_or_taken_is_refused(chief_client, segment, name):
    response = chief_client.post(ADD, {**filled(chief_client.get(ADD), FORM), "name": name, "_save": "1"})

    assert response.status_code == 200
    assert response.context["has_errors"]
    assert Segment.objects.count() == 1


def test_editing_says_which_flags_it_changes(chief_client, segment):
    flag = editing.create("FF_A", rules=[{"segments": ["Invited"]}, {"segments": ["Invited"]}], **COMMAND)

    html = chief_client.get(change(segment)).content.decode()
    response = save(chief_client, segment, **{"constraints-0-values": "grace@example.org"})

    assert html.count(f'href="{page(flag)}"') == 1
    assert "Saving changes who gets" in html
    assert told(response) == ["“Invited”: saved."]
    segment.refresh_from_db()
    assert segment.constraints[0]["values"] == ["grace@example.org"]
    assert "constraint added: email is one of grace@example.org" in response.content.decode()


def test_a_mistake_stands_beside_its_row(chief_client, segment):
    response = save(chief_client, segment, **{"constraints-0-values": ""})

    assert response.context["node"].lists["constraints"][0].form.errors["values"] == ["Give at least one value."]


def test_a_stale_page_keeps_what_was_typed(chief_client, segment):
    data = filled(chief_client.get(change(segment)), FORM)
    segments.edit_segment(segment, {"description": "Theirs"}, **COMMAND)

    response = chief_client.post(change(segment), {**data, "constraints-0-values": "x", "_save": "1"})
    kept = filled(response, FORM)

    assert "description: – → Theirs" in response.content.decode()
    assert (kept["constraints-0-values"], kept["description"]) == ("x", "Theirs")
    chief_client.post(change(segment), {**kept, "_save": "1"})
    segment.refresh_from_db()
    assert (segment.description, segment.constraints[0]["values"]) == ("Theirs", ["x"])


def test_nothing_changed_is_nothing_written(chief_client, segment):
    assert told(save(chief_client, segment)) == ["“Invited”: nothing to save."]
    assert segment.revisions.count() == 1


def test_deleting_is_refused_while_a_flag_uses_it(chief_client, segment):
    flag = editing.create("FF_A", rules=[{"segments": ["Invited"]}], **COMMAND)

    used = chief_client.get(change(segment)).content.decode()
    refused = chief_client.post(change(segment, "delete"), {"reason": ""}, follow=True)
    editing.edit(flag, {"rules": []}, **COMMAND)
    free = chief_client.get(change(segment)).content.decode()
    done = chief_client.post(change(segment, "delete"), {"reason": ""}, follow=True)

    assert "verb-delete" not in used
    assert told(refused) == ["“Invited”: It is used by FF_A."]
    assert "verb-delete" in free
    assert told(done) == ["“Invited”: deleted."]
    assert done.redirect_chain == [(SEGMENTS, 302)]


def test_a_segment_that_is_gone_meanwhile_is_no_failure(chief_client, segment, monkeypatch):
    edit = segments.edit_segment

    def late(segment, changes, **more):
        Segment.objects.filter(pk=segment.pk).delete()
        return edit(segment, changes, **more)

    monkeypatch.setattr(segments, "edit_segment", late)

    assert "There is no such segment." in save(chief_client, segment, description="x").content.decode()


def test_the_list_counts_users_at_a_constant_cost(chief_client, segment, django_assert_max_num_queries):
    editing.create("FF_A", rules=[{"segments": ["Invited"]}, {"segments": ["Invited"]}], **COMMAND)

    with django_assert_max_num_queries(9) as counted:
        html = chief_client.get(SEGMENTS).content.decode()
    for number in range(5):
        segments.create_segment(f"S{number}", **COMMAND)
    with django_assert_max_num_queries(len(counted)):
        chief_client.get(SEGMENTS)

    assert "1 flag<" in html


def test_each_permission_opens_its_own_door(client, segment):
    client.force_login(make_staff("viewer@example.org", "view_segment"))
    data = filled(client.get(change(segment)), FORM)

    assert client.post(change(segment), {**data, "_save": "1"}).status_code == 403
    assert client.post(change(segment, "delete"), {"reason": ""}).status_code == 403
    assert client.get(ADD).status_code == 403
    client.force_login(make_staff("stranger@example.org", "view_featureflag"))
    assert client.get(change(segment)).status_code == 403
    assert client.get(SEGMENTS).status_code == 403
