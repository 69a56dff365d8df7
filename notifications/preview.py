"""A mail as staff look at it: in a frame of its own that can do nothing."""

from __future__ import annotations

from django.http import HttpResponse

from notifications.rendering.render import Rendered

#: Mails bring their styles with them; the admin's own policy would drop these. Nothing is loaded and no script runs.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


def preview_response(rendered: Rendered, *, part: str = "html") -> HttpResponse:
    """The answer to `<iframe sandbox src=…>`: the html of a mail, or with `part` its `text`."""
    if part == "html":
        return _framed(rendered.html, "text/html")
    return _framed(f"{rendered.subject}\n\n{rendered.text}", "text/plain")


def problem_response(text: str) -> HttpResponse:
    """What the frame shows in place of a mail that cannot be made."""
    return _framed(text, "text/plain", status=400)


def _framed(content: str, kind: str, *, status: int = 200) -> HttpResponse:
    return HttpResponse(
        content,
        content_type=f"{kind}; charset=utf-8",
        status=status,
        headers={
            "Content-Security-Policy": POLICY,
            "X-Frame-Options": "SAMEORIGIN",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
