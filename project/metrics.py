"""`/metrics`: figures for Prometheus."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

from notifications import metrics as counted
from notifications.services import health
from project import errors


async def metrics(request: HttpRequest) -> HttpResponse:
    """200 with METRICS_TOKEN as bearer; otherwise, as without one, there is no such page."""
    given = request.headers.get("Authorization", "")
    if not settings.METRICS_TOKEN or not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        return errors.answer(request, 404)
    gauges = await sync_to_async(health.gauges)()
    response = HttpResponse(counted.text(gauges), content_type=counted.CONTENT_TYPE)
    response["Cache-Control"] = "no-store"
    return response
