"""One flag by OpenFeature's remote evaluation protocol: values, refusals, and what is counted."""

from itertools import product

import pytest

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import Definition
from feature_flags.http import cache
from feature_flags.models import FlagToken, FlagUsage, UnknownFlag
from feature_flags.runtime import store, usage
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, break_flag
from feature_flags.tests.wire import BULK, ask, constraint, make_flag
from project.asgi import application

pytestmark = pytest.mark.django_db


def test_one_flag_has_a_value_a_reason_and_a_variant(evaluate, subtests):
    for key, context, answer in [
        ("FF_ON", {}, {"value": True, "reason": "STATIC", "variant": "on"}),
        ("FF_OFF", {}, {"value": False, "reason": "DISABLED", "variant": "off"}),
        ("FF_RULE", {"country": "IT"}, {"value": True, "reason": "TARGETING_MATCH", "variant": "on"}),
        ("FF_RULE", {"country": "FR"}, {"value": False, "reason": "DEFAULT", "variant": "off"}),
        ("FF_COUNT", {}, {"value": 5, "reason": "STATIC", "variant": "five"}),
        ("FF_SHAPE", {}, {"value": {"a": [1, "é"]}, "reason": "STATIC", "variant": "box"}),
        ("FF_UNSET", {}, {"reason": "DISABLED", "variant": "off"}),
    ]:
        with subtests.test(key, context=context):
            reply = evaluate(key, context)

            assert (reply.status, reply.json()) == (200, {"key": key, **answer})
            assert reply.headers["content-type"] == "application/json"


def test_a_float_is_written_as_one(evaluate):
    assert b'"value":5.0,' in evaluate("FF_RATIO").body
    assert b'"value":5,' in evaluate("FF_COUNT").body


def test_variants_are_split_by_the_targeting_key(evaluate):
    answers = [evaluate("FF_COLOUR", {"targetingKey": f"user-{number}"}).json() for number in range(20)]

    assert {(answer["value"], answer["variant"], answer["reason"]) for answer in answers} == {
        ("#f00", "red", "SPLIT"),
        ("#00f", "blue", "SPLIT"),
    }
    assert evaluate("FF_COLOUR", {"targetingKey": "user-3"}).json() == answers[3]


def test_a_user_id_stands_before_the_targeting_key(evaluate):
    both = [constraint("userId", "IN", "7"), constraint("targetingKey", "IN", "x")]
    make_flag("FF_WHO", rules=[{"constraints": both}])

    assert evaluate("FF_WHO", {"targetingKey": "x", "userId": "7"}).json()["value"]
    assert not evaluate("FF_WHO", {"targetingKey": "7"}).json()["value"]


def test_a_strict_client_is_told_unknown_for_default(evaluate, settings):
    settings.FLAGS_OFREP_STRICT_REASON = True
    cache.forget()

    assert evaluate("FF_RULE").json()["reason"] == "UNKNOWN"
    assert evaluate("FF_OFF").json()["reason"] == "DISABLED"
    cache.forget()


def test_whatever_follows_is_the_key_and_unknown_is_a_json_404(evaluate, subtests):
    for key in ["nope", "a/b", "../x", "a%2Fb", "%00", "%FF", "k%22"]:
        with subtests.test(key):
            reply = evaluate(key)

            assert reply.status == 404
            assert reply.headers["content-type"] == "application/json"
            document = reply.json()
            assert (document["errorCode"], set(document)) == ("FLAG_NOT_FOUND", {"key", "errorCode", "errorDetails"})


def test_an_archived_flag_is_unknown(evaluate):
    flag = make_flag("FF_GONE")
    editing.archive(flag, **COMMAND)

    assert evaluate("FF_GONE").status == 404


def test_a_body_that_cannot_be_used_is_refused_in_the_words_of_the_protocol(scene, subtests):
    for body, code in [
        (b"{", "PARSE_ERROR"),
        (b'{"context": {"a": NaN}}', "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
        (b"[" * 100_00, "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b"null", "INVALID_CONTEXT"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": {}}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": []}}', "INVALID_CONTEXT"),
    ]:
        with subtests.test(body[:30]):
            single = ask(application, "POST", f"{BULK}/FF_ON", {"authorization": scene.server}, body)
            bulk = ask(application, "POST", BULK, {"authorization": scene.server}, body)

            assert (single.status, bulk.status) == (400, 400)
            assert (single.json()["key"], single.json()["errorCode"], bulk.json()["errorCode"]) == ("FF_ON", code, code)
            assert single.json()["errorDetails"]
            assert set(bulk.json()) == {"errorCode", "errorDetails"}


def test_no_context_and_a_byte_order_mark_are_taken(scene, subtests):
    paths = [f"{BULK}/FF_ON", BULK, "/api/frontend", "/api/frontend/client/metrics"]
    bodies = [b"", b'{"context": null}', b"\xef\xbb\xbf", b"\xef\xbb\xbf{}", b'\xef\xbb\xbf{"context": {"a": "b"}}']
    for path, body in product(paths, bodies):
        with subtests.test(path, body=body):
            assert ask(application, "POST", path, {"authorization": scene.frontend}, body).status in {200, 202}


def test_evaluations_are_counted(evaluate, bulk, scene):
    evaluate("FF_ON")
    bulk(token=scene.frontend)
    usage.flush()

    rows = FlagUsage.objects.filter(codename__in=["FF_ON", "FF_OFF", "FF_COUNT"], app_name="ofrep")
    assert sorted(rows.values_list("codename", "variant", "yes", "no")) == [
        ("FF_COUNT", "", 1, 0),
        ("FF_COUNT", "five", 1, 0),
        ("FF_OFF", "", 0, 1),
        ("FF_ON", "", 2, 0),
    ]


def test_unknown_flags_and_used_tokens_are_noted(evaluate, scene):
    evaluate("FF_TYPO")
    evaluate("FF_HIDDEN", token=scene.frontend)
    usage.flush()

    assert list(UnknownFlag.objects.values_list("codename", "app_name", "count")) == [("FF_TYPO", "ofrep", 1)]
    assert FlagToken.objects.filter(last_used_on__isnull=False).count() == 2


def test_a_float_stays_one_whatever_the_database_made_of_it():
    feature = {"name": "FF_A", "enabled": False, "strategies": []}
    flag = compile_flag(Definition(feature, value_type="float", off_value=1), {})

    assert b'"value":1.0,' in cache.evaluation(flag, flag.constant)


def test_a_flag_that_cannot_be_compiled_says_so(evaluate):
    break_flag(make_flag("FF_BROKEN", rules=[{"constraints": [constraint("age", "IN", "1")]}]))
    store.refresh()

    reply = evaluate("FF_BROKEN").json()

    assert (reply["value"], reply["reason"]) == (False, "UNKNOWN")
    assert reply["metadata"]["error"]


def test_an_answer_from_memory_tells_its_age(evaluate, bulk, monkeypatch):
    monkeypatch.setattr(store, "stale_seconds", lambda: 42)

    assert evaluate("FF_ON").json()["metadata"] == {"stale_seconds": 42}
    assert bulk().json()["metadata"]["stale_seconds"] == 42


@pytest.mark.parametrize("context", [{"x": 10**400}, {"properties": {"x": -(10**400)}}])
def test_numbers_beyond_every_float_are_no_context(evaluate, context):
    assert evaluate("FF_ON", context).status == 200


@pytest.mark.parametrize("is_edge_on", [True, False])
def test_a_key_with_line_breaks_is_unknown_at_both_doors(evaluate, settings, is_edge_on):
    settings.FLAGS_EDGE = is_edge_on

    reply = evaluate("a\nb\rc")

    assert reply.status == 404
    assert reply.json()["errorCode"] == "FLAG_NOT_FOUND"
