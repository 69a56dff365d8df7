"""What readers report, to be looked at."""

from datetime import timedelta

import pytest
from django.utils import timezone

from feature_flags.models import FlagSeen, FlagUsage, UnknownFlag
from feature_flags.tests.factories import make_staff
from feature_flags.tests.pages import FLAGS, filled

USAGE, UNKNOWN = "/admin/feature_flags/flagusage/", "/admin/feature_flags/unknownflag/"


def test_use_by_hour_is_filtered_by_time_and_kind_of_row(chief_client):
    now = timezone.now()
    for name, hours, variant in (("FF_A", 1, ""), ("FF_B", 1, "blue"), ("FF_C", 48, ""), ("FF_D", 400, "")):
        FlagUsage.objects.create(codename=name, hour=now - timedelta(hours=hours), app_name="web", variant=variant)
        FlagSeen.objects.create(codename=name)

    def found(**query):
        return sorted(row.codename for row in chief_client.get(USAGE, query).context["cl"].result_list)

    assert found() == ["FF_A", "FF_B", "FF_C", "FF_D"]
    assert found(hours="24") == ["FF_A", "FF_B"]
    assert found(hours="168") == ["FF_A", "FF_B", "FF_C"]
    assert found(hours="9" * 40) == ["FF_A", "FF_B", "FF_C", "FF_D"]
    assert found(rows="variants") == ["FF_B"]
    assert found(rows="totals", q="ff_a") == ["FF_A"]


def test_an_unknown_name_becomes_a_flag_from_here(chief_client):
    UnknownFlag.objects.create(codename="FF_TYPO", app_name="a&b", count=12)

    html = chief_client.get(UNKNOWN).content.decode()
    form = filled(chief_client.get(f"{FLAGS}add/?codename=FF_TYPO"))

    assert f'href="{FLAGS}add/?codename=FF_TYPO"' in html
    assert "a&amp;b" in html
    assert form["codename"] == "FF_TYPO"


def test_whoever_may_not_add_flags_is_not_offered_to(client, db):
    UnknownFlag.objects.create(codename="FF_TYPO", app_name="web")
    client.force_login(make_staff("viewer@example.org", "view_unknownflag"))

    html = client.get(UNKNOWN).content.decode()

    assert "FF_TYPO" in html
    assert "Create it" not in html


@pytest.mark.parametrize("model", [FlagUsage, UnknownFlag])
def test_reports_are_only_looked_at(chief_client, model):
    times = {"hour": timezone.now()} if model is FlagUsage else {}
    row = model.objects.create(codename="FF_A", app_name="web", **times)
    address = f"/admin/feature_flags/{model._meta.model_name}/"

    assert chief_client.get(f"{address}{row.pk}/change/").status_code == 200
    assert chief_client.get(f"{address}add/").status_code == 403
    assert chief_client.post(f"{address}{row.pk}/change/", {"codename": "X"}).status_code == 403
    assert chief_client.post(f"{address}{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_strange_name_fills_the_form_and_nothing_else(chief_client):
    response = chief_client.get(f"{FLAGS}add/", {"codename": '"><b>' + "x" * 3000})

    assert response.status_code == 200
    assert '"><b>' not in response.content.decode()
