"""From a row to the mail that leaves: the door to `rendering`, for all who only want one made.

Files come from `templates/emails/<app>/<type>/`, staff's versions of them from TemplateOverride.
"""

from notifications.rendering.content import (
    HTML_WARNING,
    Rendered,
    derived,
    fill,
    greeting_name,
    in_app,
    masked,
    missing_links,
    of_message,
    render,
)
from notifications.rendering.engines import languages, missing_files, written
from notifications.rendering.mail import Mail, build, compose
from notifications.rendering.samples import TEST, InvalidSample, sample

__all__ = [
    "HTML_WARNING",
    "TEST",
    "InvalidSample",
    "Mail",
    "Rendered",
    "build",
    "compose",
    "derived",
    "fill",
    "greeting_name",
    "in_app",
    "languages",
    "masked",
    "missing_files",
    "missing_links",
    "of_message",
    "render",
    "sample",
    "written",
]
