"""What Django code asks: the same functions from sync and async code, without a query."""

import asyncio

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpResponse
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.views.generic import View

import feature_flags
from feature_flags import context as scope
from feature_flags.runtime import usage
from feature_flags.tests.factories import FeatureFlagFactory
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ITALY = {"constraints": [{"field": "country", "operator": "IN", "values": ["IT"]}]}


@pytest.fixture
def in_request():
    """As FlagsMiddleware does it."""
    scope.enter_request()
    yield
    scope.leave_request()


def request_of(user=None, **meta):
    request = RequestFactory().get("/", **meta)
    request.user = user or AnonymousUser()
    return request


def test_a_mapping_is_the_context():
    flag = FeatureFlagFactory.create(on=True, rules=[ITALY]).codename

    assert feature_flags.is_enabled(flag, {"country": "IT"})
    assert feature_flags.is_enabled(flag, {"properties": {"country": "IT"}})
    assert not feature_flags.is_enabled(flag, {"country": "FR"})
    assert not feature_flags.is_enabled(flag)


def test_a_person_brings_a_context():
    user = UserFactory.create(email="ada@example.org", is_staff=True)
    fields = {"userId": user.pk.hex, "email": "ada@example.org", "emailDomain": "example.org", "isStaff": "true"}

    for field, value in fields.items():
        rule = {"constraints": [{"field": field, "operator": "IN", "values": [value]}]}
        flag = FeatureFlagFactory.create(on=True, rules=[rule]).codename
        assert feature_flags.is_enabled(flag, user), field
        assert not feature_flags.is_enabled(flag, UserFactory.create(email=f"{field.lower()}@example.com")), field
        assert not feature_flags.is_enabled(flag, AnonymousUser()), field


def test_a_request_is_its_person_and_its_address():
    user = UserFactory.create()
    home = {"constraints": [{"field": "remoteAddress", "operator": "IN_CIDR", "values": ["192.0.2.0/24"]}]}
    flag = FeatureFlagFactory.create(on=True, rules=[home], targets={"on": [user.pk.hex]}).codename

    assert feature_flags.is_enabled(flag, request_of(user))
    assert feature_flags.is_enabled(flag, request_of(REMOTE_ADDR="192.0.2.7"))
    assert feature_flags.is_enabled(flag, request_of(REMOTE_ADDR="::ffff:192.0.2.7"))
    assert not feature_flags.is_enabled(flag, request_of())


def test_the_targeting_key_stands_in_for_the_user_id():
    flag = FeatureFlagFactory.create(on=True, rules=[ITALY], targets={"on": ["ada"], "off": ["eve"]}).codename

    assert feature_flags.is_enabled(flag, {"targetingKey": "ada"})
    assert not feature_flags.is_enabled(flag, {"targetingKey": "ada", "userId": "eve", "country": "IT"})


def test_async_code_asks_the_same():
    flag = FeatureFlagFactory.create(on=True, rules=[ITALY]).codename

    async def ask():
        return feature_flags.is_enabled(flag, {"country": "IT"})

    assert async_to_sync(ask)()


def test_one_request_draws_once(in_request):
    flag = FeatureFlagFactory.create(on=True, rollout_percent=50).codename

    assert len({feature_flags.is_enabled(flag) for _ in range(64)}) == 1


def test_other_requests_draw_anew():
    flag = FeatureFlagFactory.create(on=True, rollout_percent=50).codename
    answers = set()
    for _ in range(64):
        scope.enter_request()
        answers.add(feature_flags.is_enabled(flag))
        scope.leave_request()

    assert answers == {True, False}


def test_a_request_keeps_its_answer_while_a_flag_is_switched(in_request):
    flag = FeatureFlagFactory.create()
    assert not feature_flags.is_enabled(flag.codename)

    from feature_flags.services import editing
    from feature_flags.tests.factories import COMMAND

    editing.switch(flag, on=True, **COMMAND)

    assert not feature_flags.is_enabled(flag.codename)
    scope.leave_request()
    assert feature_flags.is_enabled(flag.codename)


def test_a_request_lists_what_it_has_asked(client, monkeypatch):
    from users.services import registration

    seen = {}
    check = registration.password_strength.check

    def look_and_check(*args, **kw):
        seen.update(scope.scopes.get().seen)
        check(*args, **kw)

    monkeypatch.setattr(registration.password_strength, "check", look_and_check)
    body = {"email": "a@example.org", "password": "Analytical-1843", "first_name": "A", "last_name": "B"}

    assert client.post("/api/register", body, content_type="application/json").status_code == 201
    assert seen == {"FF_ENABLE_REGISTRATION": True}
    assert scope.scopes.get() is None


def test_an_unknown_name_raises_in_tests_and_is_counted_elsewhere(settings, caplog):
    with pytest.raises(feature_flags.UnknownFlagError, match="FF_TYPO"):
        feature_flags.is_enabled("FF_TYPO")

    settings.FLAGS_STRICT = False
    for _ in range(3):
        assert not feature_flags.is_enabled("FF_TYPO")
    assert feature_flags.is_enabled("FF_TYPO", default=True)
    assert feature_flags.value_string("FF_TYPO", default="x") == "x"
    assert caplog.text.count("FF_TYPO") == 1


def test_an_archived_flag_is_unknown(settings):
    from feature_flags.services import editing
    from feature_flags.tests.factories import COMMAND

    settings.FLAGS_STRICT = False
    flag = FeatureFlagFactory.create(on=True)

    editing.archive(flag, **COMMAND)

    assert feature_flags.is_enabled(flag.codename, default=True)
    assert not feature_flags.is_enabled(flag.codename)


@pytest.mark.parametrize(
    ("value_type", "payload", "off", "getter"),
    [
        ("string", "blue", "grey", "value_string"),
        ("integer", 5, 1, "value_int"),
        ("float", 5.0, 0.5, "value_float"),
        ("object", {"a": [1, None]}, {"a": []}, "value_json"),
    ],
)
def test_values_have_the_declared_type(value_type, payload, off, getter):
    from feature_flags.services import editing
    from feature_flags.tests.factories import COMMAND

    variants = [{"name": "one", "payload": payload}]
    flag = FeatureFlagFactory.create(on=True, value_type=value_type, off_value=off, variants=variants)
    ask = getattr(feature_flags, getter)

    on = ask(flag.codename)
    editing.switch(flag, on=False, **COMMAND)

    assert (on, type(on)) == (payload, type(payload))
    assert ask(flag.codename) == off
    assert feature_flags.variant(flag.codename).name == "disabled"


def test_another_type_is_the_default_and_is_said_once(caplog):
    flag = FeatureFlagFactory.create(on=True, value_type="integer", variants=[{"name": "one", "payload": 5}]).codename

    assert [feature_flags.value_string(flag, default="x") for _ in range(3)] == ["x"] * 3
    assert caplog.text.count("asked for as string") == 1


def test_variants_are_dealt_by_weight_and_stick():
    variants = [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]
    flag = FeatureFlagFactory.create(on=True, variants=variants).codename

    dealt = [feature_flags.variant(flag, {"userId": str(number)}).name for number in range(400)]

    assert 240 < dealt.count("b") < 360
    assert dealt == [feature_flags.variant(flag, {"userId": str(number)}).name for number in range(400)]


# --- Overrides --------------------------------------------------------------------------------------------------------


def test_overrides_touch_nothing_and_end():
    flag = FeatureFlagFactory.create().codename

    with feature_flags.override_flags({"any.name": 5}, **{flag: True}):
        assert feature_flags.is_enabled(flag)
        assert feature_flags.value_int("any.name") == 5
        with feature_flags.override_flags({flag: False, "colour": "blue"}):
            assert not feature_flags.is_enabled(flag)
            assert feature_flags.variant("colour").name == "blue"
            assert feature_flags.value_int("any.name") == 5
        assert feature_flags.is_enabled(flag)
    assert not feature_flags.is_enabled(flag)


def test_overrides_decorate_functions_of_both_kinds():
    flag = FeatureFlagFactory.create().codename

    @feature_flags.override_flags(**{flag: True})
    def plain():
        return feature_flags.is_enabled(flag)

    @feature_flags.override_flags(**{flag: True})
    async def awaited():
        await asyncio.sleep(0)
        return feature_flags.is_enabled(flag)

    assert plain()
    assert plain()
    assert async_to_sync(awaited)()
    assert not feature_flags.is_enabled(flag)


def test_overrides_stay_in_their_task():
    flag = FeatureFlagFactory.create().codename

    async def with_override(ready):
        with feature_flags.override_flags(**{flag: True}):
            ready.set()
            await asyncio.sleep(0)
            return feature_flags.is_enabled(flag), await sync_to_async(feature_flags.is_enabled)(flag)

    async def without(ready):
        await ready.wait()
        return feature_flags.is_enabled(flag)

    async def both():
        ready = asyncio.Event()
        return await asyncio.gather(with_override(ready), without(ready))

    assert async_to_sync(both)() == [(True, True), False]


def test_the_fixture_reaches_a_request(client, override_flags):
    override_flags(FF_ENABLE_REGISTRATION=False)

    response = client.post("/api/register", {"email": "a@example.org"}, content_type="application/json")
    body = {"email": "a@example.org", "password": "Analytical-1843", "first_name": "A", "last_name": "B"}

    assert response.status_code == 422
    assert client.post("/api/register", body, content_type="application/json").status_code == 404


# --- Views and templates ----------------------------------------------------------------------------------------------


def test_a_view_exists_while_the_flag_is_on(override_flags):
    @feature_flags.flag_required("FF_VIEW")
    def view(request):
        return HttpResponse("here")

    override_flags(FF_VIEW=True)
    assert view(request_of()).content == b"here"
    override_flags(FF_VIEW=False)
    with pytest.raises(Http404):
        view(request_of())


def test_a_fallback_is_a_view_or_an_address(override_flags):
    override_flags(FF_VIEW=False)

    @feature_flags.flag_required("FF_VIEW", fallback=lambda request: HttpResponse("old"))
    def replaced(request):
        return HttpResponse("new")

    @feature_flags.flag_required("FF_VIEW", fallback="/elsewhere")
    def moved(request):
        return HttpResponse("new")

    assert replaced(request_of()).content == b"old"
    assert moved(request_of()).headers["Location"] == "/elsewhere"


def test_async_views_know_their_person():
    user = UserFactory.create()
    flag = FeatureFlagFactory.create(on=True, rules=[ITALY], targets={"on": [user.pk.hex]}).codename

    async def old(request):
        return HttpResponse("old")

    @feature_flags.flag_required(flag, fallback=old)
    async def view(request):
        return HttpResponse("new")

    def asking(person):
        request = RequestFactory().get("/")

        async def auser():
            return person

        request.auser = auser
        return async_to_sync(view)(request).content

    assert asking(user) == b"new"
    assert asking(AnonymousUser()) == b"old"


def test_class_based_views(override_flags):
    class Page(feature_flags.FlagRequiredMixin, View):
        flag = "FF_VIEW"
        flag_fallback = "/old"

        def get(self, request):
            return HttpResponse("new")

    override_flags(FF_VIEW=True)
    assert Page.as_view()(request_of()).content == b"new"
    override_flags(FF_VIEW=False)
    assert Page.as_view()(request_of()).headers["Location"] == "/old"


def test_ninja_operations():
    from ninja import NinjaAPI
    from ninja.testing import TestClient

    api = NinjaAPI(urls_namespace="test-flag-required")

    @api.get("/new/{number}")
    @feature_flags.flag_required("FF_API")
    def new(request, number: int):
        return {"number": number}

    client = TestClient(api)
    with feature_flags.override_flags(FF_API=True):
        assert client.get("/new/5").json() == {"number": 5}
    with feature_flags.override_flags(FF_API=False):
        assert client.get("/new/5").status_code == 404


def test_templates():
    flag = FeatureFlagFactory.create(on=True, rules=[ITALY], targets={"on": ["ada"]}).codename
    template = Template('{% load flags %}{% flag name %}new{% else %}old{% endflag %}{% flag "FF_OFF" %}x{% endflag %}')

    class Ada:
        pk = "ada"

    with feature_flags.override_flags(FF_OFF=False):
        assert template.render(Context({"name": flag, "request": request_of()})) == "old"
        assert template.render(Context({"name": flag, "user": Ada()})) == "new"
    with pytest.raises(TemplateSyntaxError):
        Template("{% load flags %}{% flag %}{% endflag %}")


def test_a_page_hands_exposed_flags_to_its_script():
    FeatureFlagFactory.create(codename="FF_B", on=True)
    FeatureFlagFactory.create(codename="FF_SECRET", exposed=False)

    html = Template('{% load flags %}{% exposed_flags "ff" %}').render(Context({"request": request_of()}))

    assert html.startswith('<script id="ff" type="application/json">')
    assert '"FF_B": true' in html
    assert "FF_SECRET" not in html


def test_asking_is_counted_without_writing(django_assert_num_queries):
    flag = FeatureFlagFactory.create(on=True, rules=[ITALY]).codename
    before = list(usage.cell(flag))

    with django_assert_num_queries(0):
        feature_flags.is_enabled(flag, {"country": "IT"})
        feature_flags.is_enabled(flag)

    assert usage.cell(flag) == [before[0] + 1, before[1] + 1]
