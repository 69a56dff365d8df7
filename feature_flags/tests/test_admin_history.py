"""What happened, on the flag's page and for all flags, and the way back."""

import pytest
from django.contrib.admin.models import LogEntry

from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.services import editing, segments, tokens
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, document_of, make_staff
from feature_flags.tests.pages import FLAGS, REVISIONS, page, told
from lib.actors import Actor

ADMIN = FlagRevision.Door.ADMIN


def restore(revision):
    return f"{REVISIONS}{revision.pk}/restore/"


def test_the_page_tells_the_history_newest_first(staff_client, staff):
    flag = FeatureFlagFactory.create(codename="FF_A")
    editing.switch(
        flag,
        on=True,
        actor=Actor("admin", staff),
        reason="a & b",
    )

    response = staff_client.get(page(flag))

    history = response.content.decode().split('id="flag-history"')[1]
    assert history.index("active: off → on") < history.index("created")
    assert "a &amp; b" in history
    assert "staff@example.org" in history
    assert "command:test" in history
    assert history.count(">Restore this version<") == 1


def test_a_long_history_is_cut(staff_client, monkeypatch):
    monkeypatch.setattr("feature_flags.admin.document_page.HISTORY_SHOWN", 3)
    flag = FeatureFlagFactory.create()
    for state in (True, False, True, False):
        editing.switch(flag, on=state, **COMMAND)

    response = staff_client.get(page(flag))

    assert len(response.context["history"]) == 3
    assert b"Only the newest 3" in response.content


def test_restoring_shows_the_difference_and_leaves_a_revision(staff_client, staff):
    flag = editing.create("FF_A", label="Then", rules=[{"rollout_percent": 10}], **COMMAND)
    then = flag.revisions.latest("id")
    editing.edit(flag, {"label": "Now", "rules": [{"rollout_percent": 90}]}, **COMMAND)

    asked = staff_client.get(restore(then))
    html = asked.content.decode()
    assert "label: Now → Then" in html
    assert "rule 1, rollout: 90 % → 10 %" in html
    assert flag.revisions.count() == 2
    done = staff_client.post(restore(then), {"reason": "it was better"}, follow=True)

    assert told(done) == ["“FF_A”: restored."]
    assert done.redirect_chain == [(page(flag), 302)]
    assert document_of(flag) == then.snapshot
    newest = flag.revisions.latest("id")
    assert (newest.action, newest.actor, newest.reason) == ("restore", staff, "it was better")
    entry = LogEntry.objects.get()
    assert entry.object_id == str(flag.pk)
    assert entry.change_message.endswith("Reason: it was better")


def test_restoring_what_is_there_already_changes_nothing(staff_client):
    flag = FeatureFlagFactory.create()
    revision = flag.revisions.get()

    shown = staff_client.get(restore(revision))
    done = staff_client.post(restore(revision), {"reason": ""}, follow=True)

    assert "nothing to restore" in shown.content.decode()
    assert "it is like that already" in told(done)[0]
    assert flag.revisions.count() == 1
    assert not LogEntry.objects.exists()


def test_restoring_a_switch_needs_what_the_switch_needs(client, db):
    flag = FeatureFlagFactory.create(codename="FF_A", is_protected=True)
    then = flag.revisions.latest("id")
    editing.switch(flag, on=True, **COMMAND, reason="x")
    client.force_login(make_staff("editor@example.org", "view_featureflag", "change_featureflag"))

    assert client.get(restore(then)).status_code == 403
    assert client.post(restore(then), {"reason": "x"}).status_code == 403

    client.force_login(make_staff("s@example.org", "view_featureflag", "change_featureflag", "switch_featureflag"))
    assert "Say why." in client.post(restore(then), {"reason": ""}).content.decode()
    client.post(restore(then), {"reason": "back"})
    flag.refresh_from_db()
    assert not flag.is_active


def test_a_deleted_flag_comes_back_from_its_history(chief_client):
    flag = FeatureFlagFactory.create(codename="FF_A", label="Then")
    editing.delete(flag, **COMMAND)
    created, deleted = FlagRevision.objects.filter(codename="FF_A").order_by("id")

    done = chief_client.post(restore(created), {"reason": ""}, follow=True)

    assert told(done) == ["“FF_A”: restored."]
    assert editing.get("FF_A").label == "Then"
    assert chief_client.get(restore(deleted)).status_code == 404


def test_a_version_that_cannot_be_restored_says_why(staff_client):
    segments.create_segment("Invited", **COMMAND)
    flag = editing.create("FF_A", rules=[{"segments": ["Invited"]}], **COMMAND)
    then = flag.revisions.latest("id")
    editing.edit(flag, {"rules": []}, **COMMAND)
    segments.delete_segment(flag_segment(), **COMMAND)

    done = staff_client.post(restore(then), {"reason": ""}, follow=True)

    assert "There is no segment “Invited”." in told(done)[0]


def flag_segment():
    from feature_flags.models import Segment

    return Segment.objects.get()


def test_the_history_of_everything_can_be_looked_through_and_not_changed(chief_client):
    flag = FeatureFlagFactory.create(codename="FF_A", label="<b>")
    editing.switch(
        flag,
        on=True,
        actor=Actor("admin", chief_client.chief),
        reason="spring",
    )
    tokens.create_token("shop", kind="server", **COMMAND)
    newest = flag.revisions.latest("id")

    def found(**query):
        return {revision.codename for revision in chief_client.get(REVISIONS, query).context["cl"].result_list}

    assert found() == {"FF_A", "shop", "FF_ENABLE_REGISTRATION"}
    assert found(door__exact="admin") == {"FF_A"}
    assert found(action__exact="switch") == {"FF_A"}
    assert found(subject__exact="token") == {"shop"}
    assert found(actor__id__exact=str(chief_client.chief.pk)) == {"FF_A"}
    assert found(q="spring") == {"FF_A"}
    html = chief_client.get(REVISIONS).content.decode()
    assert "label: – → &lt;b&gt;" in html
    shown = chief_client.get(f"{REVISIONS}{newest.pk}/change/").content.decode()
    assert f'href="{restore(newest)}"' in shown
    assert "active: off → on" in shown
    for address in (f"{REVISIONS}add/", f"{REVISIONS}{newest.pk}/delete/"):
        assert chief_client.get(address).status_code == 403
    assert chief_client.post(f"{REVISIONS}{newest.pk}/change/", {"reason": "x"}).status_code == 403


@pytest.mark.parametrize("diff", [{"rules": [1, 2]}, {"rules": [[{"constraints": 5}], None]}, {"targets": [[], "x"]}])
def test_rows_of_another_shape_are_shown_all_the_same(chief_client, diff):
    flag = FeatureFlagFactory.create()
    FlagRevision.objects.create(flag=flag, codename="FF_A", action="edit", door="admin", diff=diff, snapshot={})

    assert chief_client.get(REVISIONS).status_code == 200
    assert chief_client.get(page(flag)).status_code == 200


def test_the_history_costs_the_same_however_long_it_is(chief_client, django_assert_max_num_queries):
    flag = FeatureFlagFactory.create()
    for state in (True, False) * 3:
        editing.switch(flag, on=state, actor=Actor("admin", chief_client.chief))
    chief_client.get(REVISIONS)

    with django_assert_max_num_queries(12) as counted:
        chief_client.get(REVISIONS)
    for state in (True, False) * 3:
        editing.switch(flag, on=state, actor=Actor("admin", chief_client.chief))
    with django_assert_max_num_queries(len(counted)):
        chief_client.get(REVISIONS)


@pytest.mark.parametrize("name", ["0", "999999", "x", "9" * 40, "1_00"])
def test_a_version_nobody_wrote_is_not_found(chief_client, name):
    assert chief_client.get(f"{REVISIONS}{name}/restore/").status_code == 404
    assert chief_client.get(f"{FLAGS}{name}/who/").status_code == 302
    assert FeatureFlag.objects.count() == 1


def test_the_page_of_a_version_leads_back_to_it_and_to_no_empty_log(client, superuser):
    revision = FeatureFlagFactory.create().revisions.get()
    client.force_login(superuser)

    page = client.get(f"/admin/feature_flags/flagrevision/{revision.pk}/change/").content.decode()

    assert f'href="/admin/feature_flags/flagrevision/{revision.pk}/restore/"' in page
    assert "historylink" not in page
