import pytest

from notifications.models import InAppNotification
from notifications.tests.staff import IN_APP, clerk, faults, person, rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def client():
    return clerk("view_inappnotification")


def test_the_list_shows_finds_and_filters(client):
    ada = person("a&b@example.org")
    common = {"type": "tests.hello", "category": "security"}
    row = InAppNotification.objects.create(user=ada, title="<b>Hi</b>", severity="error", **common)
    InAppNotification.objects.create(user=person("other@example.org"), title="x", **common)

    shown = client.get(IN_APP)

    assert faults(shown) == []
    assert "&lt;b&gt;Hi" in shown.content.decode()
    for query in ({"q": "A&b@"}, {"severity__exact": "error"}):
        assert rows(client.get(IN_APP, query)) == [row.pk]
    assert len(rows(client.get(IN_APP, {"type": "tests.hello"}))) == 2
    one = client.get(f"{IN_APP}{row.pk}/change/")
    assert faults(one) == []
    assert "_save" not in one.content.decode()
    assert client.post(f"{IN_APP}{row.pk}/change/", {"title": "x"}).status_code == 403


def test_where_announcements_were_written_leads_to_where_they_are_now(client):
    assert client.get(f"{IN_APP}add/").headers["Location"] == "/admin/notifications/announcement/add/"
    assert "add/" not in client.get(IN_APP).content.decode()
