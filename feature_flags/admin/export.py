"""Selected flags as a file that `import_feature_flags` reads."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from feature_flags import portable
from feature_flags.formats import switchboard
from feature_flags.models import FeatureFlag, Segment
from feature_flags.services.segments import segment_document
from lib.admin import VerbAdmin

LIMIT = 10_000


def download(model_admin: VerbAdmin, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> HttpResponse | None:
    """The chosen flags and the segments their rules refer to."""
    pks = list(queryset.order_by("codename").values_list("pk", flat=True)[: LIMIT + 1])
    if len(pks) > LIMIT:
        model_admin.message_user(request, f"Select at most {LIMIT:,} at once.", messages.ERROR)
        return None
    documents = portable.read(pks) if pks else {}
    used = {name for document in documents.values() for rule in document["rules"] for name in rule["segments"]}
    segments = [segment_document(segment) for segment in Segment.objects.filter(name__in=used).order_by("name")]
    headers = {"Content-Disposition": 'attachment; filename="feature-flags.json"'}
    text = switchboard.dump(documents.values(), segments)
    return HttpResponse(text, content_type="application/json", headers=headers)
