"""The operations below `/api/staff`, loaded by the first who asks for one, or for the description of the API."""

from feature_flags.staff_api import files, flags, history, segments, tokens, why
from notifications.staff_api import announcements, messages, recipients, templates, webhooks
from project import (
    admin_urls,  # noqa: F401  (registers the pages, whose lists and verbs are operations here)
    staff_api,
)
from project.agents.api import router as proposals_router
from project.api import make
from users.api.auth import person_or_key
from users.api.staff import router as people_router

ROUTERS = [
    people_router,
    proposals_router,
    *(each.router for each in (flags, history, why, segments, tokens, files)),
    *(each.router for each in (messages, recipients, templates, webhooks, announcements)),
]

api = make(person_or_key(counts=True), docs_url=None, openapi_url=None, urls_namespace="staff")
staff_api.install(api, ROUTERS)
urlpatterns = api.urls[0]
