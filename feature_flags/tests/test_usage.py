from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError

import feature_flags
from feature_flags.admin import reach
from feature_flags.models import FlagSeen, FlagToken, FlagUsage, UnknownFlag
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Token
from feature_flags.tests.factories import FeatureFlagFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, 12, 34, tzinfo=UTC)
HOUR = datetime(2030, 1, 1, 12, tzinfo=UTC)
SERVER, FRONTEND = (Token(number, kind, kind, frozenset(), None) for number, kind in enumerate(("server", "frontend")))


def report(app_name, toggles, known=("FF_A",), token=SERVER, at=NOW):
    usage.report(app_name, toggles, {name: {"blue", "red"} for name in known}, token, at)


def counted(**filters):
    rows = FlagUsage.objects.filter(**filters).order_by("codename", "app_name", "variant")
    return [(row.codename, row.app_name, row.variant, row.yes, row.no) for row in rows]


def test_evaluations_are_added_up_by_hour():
    on, off = FeatureFlagFactory.create(on=True).codename, FeatureFlagFactory.create().codename
    for _ in range(3):
        feature_flags.is_enabled(on)
    feature_flags.is_enabled(off)

    usage.flush(NOW)
    feature_flags.is_enabled(on)
    usage.flush(NOW)

    assert counted() == [(on, "switchboard", "", 4, 0), (off, "switchboard", "", 0, 1)]
    assert set(FlagUsage.objects.values_list("hour", flat=True)) == {HOUR}
    assert FlagSeen.objects.get(codename=on).last_seen_at == NOW


def test_nothing_new_writes_nothing(django_assert_num_queries):
    feature_flags.is_enabled(FeatureFlagFactory.create().codename)
    usage.flush(NOW)

    with django_assert_num_queries(0):
        assert usage.flush(NOW) == 0


def test_what_sdks_report_is_taken_over():
    toggles = {
        "FF_A": {"yes": 5, "no": 2, "variants": {"blue": 3, "red": 2, "disabled": 1, "\x00": 1, "made up": 4}},
        "FF_TYPO": {"yes": 1, "no": 0},
        "FF_SILENT": {"yes": 0, "no": 0},
    }

    report("shop", toggles)
    usage.flush(NOW)

    variants = [("blue", 3, 0), ("disabled", 1, 0), ("other", 5, 0), ("red", 2, 0)]
    assert counted() == [("FF_A", "shop", *row) for row in [("", 5, 2), *variants]]
    unknown = UnknownFlag.objects.get()
    assert (unknown.codename, unknown.app_name, unknown.count) == ("FF_TYPO", "shop", 1)


@pytest.mark.parametrize(
    "toggles",
    [
        {"FF_A": {"yes": -1, "no": "7"}},
        {"FF_A": {"yes": True, "no": 1e300}},
        {"FF_A": [1]},
        {"FF_A": {"yes": float("nan"), "variants": [1]}},
        {"a b": {"yes": 1}},
        {"\x00": {"yes": 1}},
        {"x" * 101: {"yes": 1}},
    ],
)
def test_what_cannot_be_counted_is_left_out(toggles):
    report("shop", toggles)

    usage.flush(NOW)

    assert counted() == []
    assert not UnknownFlag.objects.exists()


@pytest.mark.parametrize(
    ("app_name", "stored"), [("x" * 500, "x" * 100), ("", "unnamed"), ("a\x00b", "ab"), (7, "unnamed")]
)
def test_names_of_applications_are_made_fit(app_name, stored):
    report(app_name, {"FF_A": {"yes": 1}})

    usage.flush(NOW)

    assert FlagUsage.objects.get().app_name == stored


@pytest.mark.parametrize("token", [SERVER, FRONTEND])
def test_a_flood_of_names_ends_in_other_and_takes_nothing_from_other_tokens(token):
    most = usage.MAX_NAMES[token.kind]
    for number in range(most + 10):
        report(f"app-{number}", {"FF_A": {"yes": 1}, f"FF_{number}": {"yes": 1}}, token=token)
    report("shop", {"FF_A": {"yes": 1}}, token=Token(7, "other", "frontend", frozenset(), None))

    usage.flush(NOW)

    assert FlagUsage.objects.count() == most + 2
    assert FlagUsage.objects.get(app_name="other").yes == 10
    assert FlagUsage.objects.get(app_name="shop").yes == 1
    # What a public token calls a flag is never kept.
    known = set(UnknownFlag.objects.values_list("codename", flat=True))
    assert known == {"other", *(f"FF_{number}" for number in range(most) if token is SERVER)}


def test_counts_end_before_their_column_does():
    most = {"yes": usage.MAX_COUNT - 1, "no": usage.MAX_COUNT - 1}
    FlagUsage.objects.create(codename="FF_B", hour=HOUR, app_name="shop", yes=2**63 - 1, no=0)
    for _ in range(2):
        report("shop", {"FF_A": most, "FF_B": most}, ["FF_A", "FF_B"])
        report("shop", {"FF_A": most})
        usage.flush(NOW)

    assert counted() == [(name, "shop", "", usage.MAX_COUNT, usage.MAX_COUNT) for name in ("FF_A", "FF_B")]


def test_a_flood_of_keys_is_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(usage, "MAX_KEYS", 5)

    report("shop", {f"FF_{number}": {"yes": 1} for number in range(9)}, [f"FF_{n}" for n in range(9)])

    assert usage.dropped == 4
    assert usage.flush(NOW) == 5


def test_unknown_names_are_capped():
    for start in (0, 150):
        for number in range(start, start + 150):
            usage.count_unknown(f"FF_{number:03}")
        usage.flush(NOW + timedelta(seconds=start))

    assert UnknownFlag.objects.count() == usage.MAX_UNKNOWN
    assert UnknownFlag.objects.filter(codename="FF_299").exists()


def test_a_failed_flush_is_tried_again_twice_and_then_dropped(monkeypatch):
    def fail(*args):
        raise OperationalError("gone")

    report("shop", {"FF_A": {"yes": 1}})
    with monkeypatch.context() as patch:
        patch.setattr(usage, "_write", fail)
        for _ in range(2):
            assert usage.flush(NOW) == 0
            report("shop", {"FF_A": {"yes": 1}})
    usage.flush(NOW)
    assert counted() == [("FF_A", "shop", "", 3, 0)]

    report("shop", {"FF_A": {"yes": 1}})
    monkeypatch.setattr(usage, "_write", fail)
    for _ in range(3):
        usage.flush(NOW)
    assert usage.dropped == 1


def test_tokens_keep_the_day_they_were_last_used():
    from feature_flags.services import tokens
    from feature_flags.tests.factories import COMMAND

    token, _ = tokens.create_token("T", kind="server", **COMMAND)
    usage.token_used(token.pk)

    usage.flush(NOW)

    assert FlagToken.objects.get().last_used_on == NOW.date()
    assert FlagToken.objects.get().revoked_at is None


def test_old_hours_go():
    for days in (1, 100):
        report("shop", {"FF_A": {"yes": 1}}, at=NOW - timedelta(days=days))
    usage.flush(NOW)

    assert list(usage.prune(NOW - timedelta(days=90))) == [1]
    assert FlagUsage.objects.count() == 1


# --- The chart of a flag ----------------------------------------------------------------------------------------------


def test_the_chart_has_each_variant_and_what_is_left(db, queries):
    rows = [("", 1, 10, 4), ("blue", 1, 6, 0), ("red", 1, 3, 0), ("", 30, 5, 0), ("", 24 * 8, 99, 99)]
    for variant, hours, yes, no in rows:
        hour = HOUR - timedelta(hours=hours)
        FlagUsage.objects.create(codename="FF_A", hour=hour, app_name="web", variant=variant, yes=yes, no=no)

    with queries() as made:
        found = reach.chart("FF_A", NOW)

    assert made() == 1
    assert {each.name: each.total for each in found.series} == {
        "other variants or none": 6,
        "blue": 6,
        "red": 3,
        "no": 4,
    }
    assert len(found.labels) == 168
    assert reach.chart("FF_B", NOW) is None
