"""What a mail says, as an answer for a sandboxed frame of the admin."""

from __future__ import annotations

from django.http import HttpResponse

from notifications.render import Rendered

#: Its styles are inline and its pictures data; scripts, forms and everything fetched stay away.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


def preview_response(rendered: Rendered) -> HttpResponse:
    return HttpResponse(rendered.html, headers={"Content-Security-Policy": POLICY, "X-Frame-Options": "SAMEORIGIN"})
