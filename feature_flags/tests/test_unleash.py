"""Unleash's client and frontend APIs, and the seed's list, on the wire."""

import gzip
import json
from random import Random
from urllib.parse import parse_qsl

import pytest

from feature_flags.http import unleash
from feature_flags.models import FlagUsage, UnknownFlag
from feature_flags.runtime import store, usage
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, rewrite_rules
from feature_flags.tests.wire import APP, ask, make_flag, make_token
from project.asgi import application

pytestmark = pytest.mark.django_db

FEATURES = "/api/client/features"
FRONTEND = "/api/frontend"


@pytest.fixture
def features(scene):
    def call(**headers):
        given = {"authorization": scene.server, "unleash-client-spec": "5.2.0"}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        return ask(application, "GET", FEATURES, given)

    return call


@pytest.fixture
def toggles(scene):
    def call(query="", body=None, **headers):
        given = {"authorization": scene.frontend, **headers}
        method = "GET" if body is None else "POST"
        return ask(application, method, FRONTEND + query, given, body or b"")

    return call


def test_the_features_document_has_its_shape(features):
    document = features().json()

    assert list(document) == ["version", "features", "segments", "query", "meta"]
    assert (document["version"], document["query"]) == (2, {"environment": "default"})
    assert document["meta"]["revisionId"] == store.snapshot.revision
    names = [feature["name"] for feature in document["features"]]
    assert names == sorted(names)
    assert {"FF_ON", "FF_OFF", "FF_HIDDEN"} < set(names)
    (segment,) = document["segments"]
    assert (segment["name"], segment["constraints"][0]["contextName"]) == ("italy", "country")


def test_no_sdk_finds_a_number_where_a_text_belongs(features):
    """SDKs on yggdrasil keep their old state without a word when one part has another type."""
    keys = {
        "name": str,
        "type": str,
        "enabled": bool,
        "stale": bool,
        "project": str,
        "description": str,
        "impressionData": bool,
        "strategies": list,
        "variants": list,
        "dependencies": list,
    }
    for feature in features().json()["features"]:
        assert {key: type(value) for key, value in feature.items()} == keys
        for strategy in feature["strategies"]:
            assert set(strategy) == {"name", "parameters", "constraints", "segments", "variants"}
            assert all(isinstance(value, str) for value in strategy["parameters"].values())
            assert all(isinstance(pk, int) for pk in strategy["segments"])
        for variant in feature["variants"]:
            assert isinstance(variant["weight"], int)
            assert all(isinstance(value, str) for value in variant.get("payload", {}).values())


def test_segments_are_inlined_for_clients_that_do_not_know_them(features, subtests):
    for version, is_apart in [
        ("4.2.0", True),
        ("5.2.0", True),
        ("6.1.0", True),
        ("10.0", True),
        ("4.1.9", False),
        ("3.9.0", False),
        ("undefined", False),
        ("", False),
        (None, False),
        ("4", False),
    ]:
        with subtests.test(version=version):
            document = features(unleash_client_spec=version).json()

            (rule,) = [feature for feature in document["features"] if feature["name"] == "FF_RULE"]
            (strategy,) = rule["strategies"]
            assert ("segments" in document, bool(strategy.get("segments"))) == (is_apart, is_apart)
            assert [part["contextName"] for part in strategy["constraints"]] == ([] if is_apart else ["country"])


def test_the_two_forms_have_tags_of_their_own(features):
    apart, inlined = features(), features(unleash_client_spec=None)

    assert apart.headers["etag"] != inlined.headers["etag"]
    assert apart.json()["meta"]["etag"] == apart.headers["etag"]
    assert apart.headers["vary"] == "Accept-Encoding, Unleash-Client-Spec, Origin"
    assert apart.headers["cache-control"] == "private, no-cache"


def test_a_known_tag_is_a_304(features, subtests):
    tag = features().headers["etag"]

    for form in ["{}", "W/{}", "*", '"x", {}']:
        with subtests.test(form):
            reply = features(if_none_match=form.format(tag))

            assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)


def test_a_switch_makes_a_new_tag(features):
    tag = features().headers["etag"]
    editing.switch(make_flag("FF_LATE", on=False), on=True, **COMMAND)

    assert features(if_none_match=tag).status == 200


def test_the_document_is_compressed_for_those_who_accept_it(features, subtests):
    for accepted, is_zipped in [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
    ]:
        with subtests.test(accepted):
            reply = features(accept_encoding=accepted)

            assert (reply.headers.get("content-encoding") == "gzip") == is_zipped
            body = gzip.decompress(reply.body) if is_zipped else reply.body
            assert json.loads(body) == features().json()
            assert reply.headers["content-length"] == str(len(reply.body))


def test_each_side_needs_its_own_kind_of_token(scene, subtests):
    for method, path, wrong in [
        ("GET", FEATURES, "frontend"),
        ("POST", "/api/client/register", "frontend"),
        ("POST", "/api/client/metrics", "frontend"),
        ("GET", FRONTEND, "server"),
        ("POST", FRONTEND, "server"),
        ("POST", "/api/frontend/client/register", "server"),
        ("POST", "/api/frontend/client/metrics", "server"),
    ]:
        with subtests.test(path, method=method):
            missing = ask(application, method, path)
            other = ask(application, method, path, {"authorization": getattr(scene, wrong)})

            assert (missing.status, missing.json()["detail"]) == (401, "Unauthorized")
            assert (other.status, other.json()["detail"]) == (403, "Forbidden")
            assert missing.headers["www-authenticate"] == "Bearer"


# --- Reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["client", "frontend/client"])
def test_metrics_are_added_to_the_usage(side, scene):
    secret = scene.server if side == "client" else scene.frontend
    counted = {
        "FF_COLOUR": {"yes": 3, "no": 1, "variants": {"blue": 2, "made up": 1}},
        "FF_HIDDEN": {"yes": 1},
        "FF_TYPO": {"yes": 1},
        "FF_OFF": 7,
    }
    body = {"appName": "shop", "bucket": {"start": "x", "stop": "y", "toggles": counted}}

    reply = ask(application, "POST", f"/api/{side}/metrics", {"authorization": secret}, body)
    usage.flush()

    assert (reply.status, reply.body, reply.headers["content-length"]) == (202, b"", "0")
    rows = FlagUsage.objects.filter(app_name="shop").values_list("codename", "variant", "yes", "no")
    seen = [("FF_COLOUR", "", 3, 1), ("FF_COLOUR", "blue", 2, 0), ("FF_COLOUR", "other", 1, 0)]
    assert sorted(rows) == seen + [("FF_HIDDEN", "", 1, 0)] * (side == "client")
    unknown = UnknownFlag.objects.get()
    assert (unknown.codename, unknown.count) == (("FF_TYPO", 1) if side == "client" else ("other", 2))


def test_metrics_without_counts_are_accepted(scene):
    for body in [b"", b"{}", b'{"bucket": null}', b'{"appName": 7, "bucket": {"toggles": []}}']:
        reply = ask(application, "POST", "/api/client/metrics", {"authorization": scene.server}, body)
        assert reply.status == 202, body


def test_a_registration_is_accepted_whatever_it_says(scene):
    for path, secret in (("/api/client/register", scene.server), ("/api/frontend/client/register", scene.frontend)):
        reply = ask(application, "POST", path, {"authorization": secret}, b"{")

        assert (reply.status, reply.body) == (202, b"")


@pytest.mark.parametrize("path", ["/api/client/metrics", "/api/frontend/client/metrics"])
def test_metrics_may_be_larger_than_other_bodies(path, scene):
    secret = scene.frontend if "frontend" in path else scene.server
    fits = json.dumps({"appName": "x" * 500_000}).encode()

    assert ask(application, "POST", path, {"authorization": secret}, fits).status == 202
    reply = ask(application, "POST", path, {"authorization": secret}, fits + b" " * 500_000)
    assert (reply.status, reply.json()["detail"]) == (413, "Payload Too Large")


# --- Frontend ---------------------------------------------------------------------------------------------------------


def test_a_browser_gets_what_is_on_for_it(toggles):
    reply = toggles("?userId=u1&properties%5Bcountry%5D=IT")

    found = {toggle["name"]: toggle for toggle in reply.json()["toggles"]}
    assert set(found) >= {"FF_ON", "FF_RULE", "FF_COLOUR"}
    assert not {"FF_OFF", "FF_HIDDEN", "FF_UNSET"} & set(found)
    assert found["FF_ON"] == {
        "name": "FF_ON",
        "enabled": True,
        "impressionData": False,
        "variant": {"name": "disabled", "enabled": False, "feature_enabled": True, "featureEnabled": True},
    }
    assert found["FF_COLOUR"]["impressionData"]
    variant = found["FF_COLOUR"]["variant"]
    assert variant["payload"] == {"type": "string", "value": {"red": "#f00", "blue": "#00f"}[variant["name"]]}


def test_properties_come_in_brackets_or_as_they_are(toggles):
    for query in ["?properties[country]=IT", "?properties%5Bcountry%5D=IT", "?country=IT", "?a&country=IT"]:
        assert "FF_RULE" in {toggle["name"] for toggle in toggles(query).json()["toggles"]}, query
    assert "FF_RULE" not in {toggle["name"] for toggle in toggles("?properties[country]=FR").json()["toggles"]}


def test_an_empty_text_is_a_value(toggles):
    make_flag("FF_EMPTY", rules=[{"constraints": [{"field": "plan", "operator": "REGEX", "value": "^$"}]}])

    assert "FF_EMPTY" in {toggle["name"] for toggle in toggles("?properties[plan]=").json()["toggles"]}
    assert "FF_EMPTY" not in {toggle["name"] for toggle in toggles().json()["toggles"]}


def test_a_pattern_stored_before_is_served_as_all_sdks_read_it_and_answers_as_ever(features, toggles):
    flag = make_flag("FF_DIGITS", rules=[{"constraints": [{"field": "plan", "operator": "REGEX", "value": "x"}]}])
    rewrite_rules(flag, constraints=[{"field": "plan", "operator": "REGEX", "value": r"^\d+$"}])
    store.put(None)
    store.refresh()

    found = next(one for one in features().json()["features"] if one["name"] == "FF_DIGITS")

    assert found["strategies"][0]["constraints"][0]["value"] == "^[0-9]+$"
    for plan, expected in (("7", True), ("x", False), ("%D9%A3", False)):
        names = {toggle["name"] for toggle in toggles(f"?properties[plan]={plan}").json()["toggles"]}
        assert ("FF_DIGITS" in names) is expected


def test_get_and_post_answer_alike(toggles):
    get = toggles("?userId=u1&sessionId=s&properties[country]=IT")
    post = toggles(body={"context": {"userId": "u1", "sessionId": "s", "properties": {"country": "IT"}}})

    assert get.json() == post.json()
    assert get.headers["etag"] == post.headers["etag"]
    assert toggles("?userId=u1&sessionId=s&country=IT", **{"if-none-match": f"W/{get.headers['etag']}"}).status == 304


def test_a_context_that_cannot_be_read_is_a_parse_error(scene):
    for body in [b"{", b"[]", b'{"context": 1}', b'{"context": {"targetingKey": []}}']:
        reply = ask(application, "POST", FRONTEND, {"authorization": scene.frontend}, body)

        assert (reply.status, reply.json()["detail"]) == (400, "PARSE_ERROR"), body


def test_a_query_of_endless_fields_is_refused(toggles):
    assert toggles("?" + "&".join(f"a{n}=1" for n in range(2000))).status == 400


def test_queries_are_read_as_the_standard_library_reads_them():
    pieces = [
        "userId",
        "properties",
        "%5B",
        "%5b",
        "[",
        "%5D",
        "]",
        "a",
        "=",
        "&",
        "+",
        "%",
        "%C3%A9",
        "%FF",
        "%zz",
        "\xe9",
    ]
    random = Random(20261124)
    for _ in range(3000):
        query = "".join(random.choices(pieces, k=random.randint(0, 12)))
        given, properties = {}, {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name.startswith("properties[") and name.endswith("]"):
                properties[name.removeprefix("properties[")[:-1]] = value
            elif name != "properties":
                given[name] = value

        assert unleash._query_context(query.encode("latin-1")) == {**given, "properties": properties}, query


def test_cors_is_the_tokens_and_not_the_houses(scene):
    _, secret = make_token("frontend", name="shop", allowed_origins=["https://shop.example"])

    # APP is in CORS_ORIGINS, which has no say here.
    refused = ask(application, "GET", FRONTEND, {"authorization": secret, "origin": APP})
    allowed = ask(application, "GET", FRONTEND, {"authorization": secret, "origin": "https://shop.example"})
    anybody = ask(application, "GET", FRONTEND, {"authorization": scene.frontend, "origin": "https://any.example"})

    assert (refused.status, "access-control-allow-origin" in refused.headers) == (403, False)
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert anybody.headers["access-control-allow-origin"] == "https://any.example"
    assert "access-control-allow-credentials" not in anybody.headers


def test_the_preflight_of_a_browser_sdk_is_answered(db):
    asked = "authorization,if-none-match,unleash-appname,unleash-connection-id,unleash-sdk,x-unleash-appname"
    reply = ask(
        application,
        "OPTIONS",
        f"{FRONTEND}?userId=7",
        {
            "origin": "https://any.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": asked,
        },
    )

    assert reply.status == 200
    assert reply.headers["access-control-allow-headers"].split(", ") == asked.split(",")


# --- The seed's list --------------------------------------------------------------------------------------------------


def test_the_seeds_list_shows_exposed_flags_and_needs_no_token(scene):
    reply = ask(application, "GET", "/api/feature-flags/feature-flags", {"authorization": "Bearer junk"})

    names = [flag["codename"] for flag in reply.json()]
    assert names == sorted(names)
    assert "FF_HIDDEN" not in names
    assert set(reply.json()[0]) == {"codename", "label", "description", "is_active"}
    assert reply.headers["cache-control"] == "no-cache"
