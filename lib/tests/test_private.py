"""Each thing that we use of Django and its documentation does not promise, on whichever Django this runs."""

import asyncio
import io
import re

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.core.signals import request_finished
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from lib import private
from project.tests import structure

UNDOCUMENTED = re.compile(
    r"_get_response_async|_middleware_chain|_(view|exception|template_response)_middleware|_resource_closers|_cached_user"
    r"|_called_from_command_line|_get_obj_does_not_exist_redirect|split_domain_port|validate_host|trans_real"
    r"|convert_exception_to_response|get_script_prefix"
)
happened = []


async def closing(request, number=0):
    response = HttpResponse(f"{request.path} {request.body.decode()} {request.resolver_match.kwargs}")
    response._resource_closers.append(lambda: happened.append("closed"))
    return response


urlpatterns = [path("plain", closing), path("with/<int:number>", closing)]


def outer(get_response):
    async def middleware(request):
        response = await get_response(request)
        happened.append("outer")
        return response

    return middleware


def inner(get_response):
    async def middleware(request):
        response = await get_response(request)
        happened.append("inner")
        return response

    return middleware


def answered(url, body=b"", method="POST"):
    """The messages of an answer to one request."""
    happened.clear()
    sent = []

    async def send(message):
        sent.append(message)

    async def scenario():
        handler = private.StepHandler([f"{__name__}.outer", f"{__name__}.inner"])
        scope = {"type": "http", "method": method, "path": url, "query_string": b"", "headers": []}
        request, error = handler.read_request(scope, io.BytesIO(body))
        assert error is None
        await handler.answer(request, send)

    def finished(**kwargs):
        happened.append("request_finished")

    request_finished.connect(finished)
    try:
        with override_settings(ROOT_URLCONF=__name__):
            asyncio.run(scenario())
    finally:
        request_finished.disconnect(finished)
    return sent


def test_a_request_goes_through_the_middleware_to_its_view_and_what_it_holds_is_closed_without_the_signal():
    sent = answered("/plain", b"text")

    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"/plain text {}"
    assert happened == ["inner", "outer", "closed"]


def test_a_route_with_parameters_is_resolved_each_time():
    assert b"'number': 7" in answered("/with/7")[1]["body"]
    assert b"'number': 8" in answered("/with/8")[1]["body"]


def test_a_path_without_a_view_is_404():
    assert answered("/nowhere")[0]["status"] == 404


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [("example.org", True), ("a.example.org:8000", True), ("[::1]:80", True), ("example.com", False), ("a b", False)],
)
def test_a_host_is_allowed_as_django_sees_it(host, is_allowed):
    assert private.host_is_allowed(host, [".example.org", "[::1]"]) is is_allowed


def test_languages_come_by_their_weight():
    assert private.accepted_languages("de;q=0.5, EN-gb, *;q=0.1") == ["en-gb", "de", "*"]


def test_a_user_is_known_once_it_was_asked_for(rf, monkeypatch):
    monkeypatch.setattr("django.contrib.auth.middleware.auth.get_user", lambda request: AnonymousUser())
    request = rf.get("/")
    request.session = {}
    AuthenticationMiddleware(lambda request: None).process_request(request)
    before = private.loaded_user(request)

    assert request.user.is_anonymous
    assert (before, private.loaded_user(request)) == (None, AnonymousUser())


def test_a_command_knows_whether_a_shell_started_it():
    seen = []

    class Command(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args, **options):
            seen.append(private.is_from_shell(self))

    call_command(Command())
    Command().run_from_argv(["manage.py", "command"])

    assert seen == [False, True]


def test_the_admin_has_a_way_out_where_an_object_does_not_exist(rf, monkeypatch):
    from django.contrib import admin
    from django.contrib.auth import get_user_model

    model_admin = admin.site.get_model_admin(get_user_model())
    monkeypatch.setattr("django.contrib.admin.ModelAdmin.message_user", lambda *args: None)

    assert private.missing_object(model_admin, rf.get("/"), "7").url == "/admin/"


def test_nothing_of_it_is_used_elsewhere():
    used = [
        f"{module}: {found.group()}"
        for module, file in structure.files().items()
        if module != "lib.private" and ".tests." not in module
        for found in UNDOCUMENTED.finditer(file.read_text())
    ]

    assert used == []
