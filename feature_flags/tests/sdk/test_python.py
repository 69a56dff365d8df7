"""The Python SDKs, unmodified, against a server of two processes."""

import warnings

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from feature_flags.tests.sdk.shop import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from UnleashClient import UnleashClient

pytestmark = [pytest.mark.sdk, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def unleash(switched_off, tmp_path):
    client = UnleashClient(
        f"{switched_off.url}/api",
        "python-shop",
        custom_headers={"Authorization": switched_off.server_token},
        refresh_interval=1,
        metrics_interval=1,
        cache_directory=str(tmp_path),
    )
    client.initialize_client()
    yield client
    client.destroy()


def test_unleash_sees_a_switch_and_reports_what_it_answered(unleash, shop):
    assert not unleash.is_enabled("FF_SWITCH")
    shop.switch(True)
    until(lambda: unleash.is_enabled("FF_SWITCH"))

    yes, no = until(lambda: shop.usage("python-shop").get("FF_SWITCH"))
    assert no
    assert until(lambda: shop.usage("python-shop")["FF_SWITCH"][0])


def test_unleash_answers_as_we_do(unleash, shop):
    people = [{"userId": f"user-{number}", "properties": {"country": "IT"}} for number in range(50)]
    theirs = [[unleash.is_enabled("FF_HALF", who), unleash.get_variant("FF_COLOUR", who)["name"]] for who in people]

    assert theirs == shop.answers()
    assert {half for half, _ in theirs} == {True, False}
    assert unleash.is_enabled("FF_ITALY", {"properties": {"country": "IT"}})
    assert not unleash.is_enabled("FF_ITALY", {"properties": {"country": "FR"}})
    assert unleash.get_variant("FF_SHAPE")["payload"] == {"type": "json", "value": '{"a":[1]}'}
    assert unleash.get_variant("FF_UNSET")["name"] == "disabled"


@pytest.fixture
def openfeature(switched_off):
    headers = {"Authorization": f"Bearer {switched_off.server_token}"}
    api.set_provider(OFREPProvider(switched_off.url, headers_factory=lambda: headers))
    yield api.get_client()
    api.clear_providers()


def test_openfeature_gets_every_type(openfeature):
    assert openfeature.get_integer_details("FF_COUNT", 0).value == 5
    ratio = openfeature.get_float_details("FF_RATIO", 0.0)
    assert (ratio.value, type(ratio.value), ratio.variant) == (5.0, float, "n")
    assert openfeature.get_object_value("FF_SHAPE", {}) == {"a": [1]}
    colour = openfeature.get_string_details("FF_COLOUR", "", EvaluationContext("user-1"))
    assert colour.value in {"#f00", "#00f"}
    assert (colour.reason, colour.error_code) == (Reason.SPLIT, None)


def test_openfeature_sees_a_switch(openfeature, shop):
    off = openfeature.get_boolean_details("FF_SWITCH", True)
    assert (off.value, off.reason, off.variant) == (False, Reason.DISABLED, "off")

    shop.switch(True)

    until(lambda: openfeature.get_boolean_value("FF_SWITCH", False))


def test_openfeature_tells_its_errors_apart(openfeature, shop):
    assert openfeature.get_boolean_details("FF_NONE", True).error_code == ErrorCode.FLAG_NOT_FOUND
    assert openfeature.get_boolean_details("a/b", True).error_code == ErrorCode.FLAG_NOT_FOUND
    assert openfeature.get_boolean_details("FF_COUNT", True).error_code == ErrorCode.TYPE_MISMATCH
    # A flag without a value for "off": the caller's default, without an error.
    unset = openfeature.get_string_details("FF_UNSET", "mine")
    assert (unset.value, unset.error_code) == ("mine", None)


def test_openfeature_targets_by_context(openfeature):
    for country, expected in (("IT", True), ("FR", False)):
        context = EvaluationContext("user-1", {"country": country})
        details = openfeature.get_boolean_details("FF_ITALY", not expected, context)
        assert (details.value, details.error_code) == (expected, None)


def test_openfeature_falls_back_without_a_token(shop):
    api.set_provider(OFREPProvider(shop.url))
    details = api.get_client().get_boolean_details("FF_SWITCH", True)
    api.clear_providers()

    assert (details.value, details.reason) == (True, Reason.ERROR)
