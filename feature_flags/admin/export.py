"""Selected flags as a file that `import_feature_flags` reads: after a fresh proof of identity, and audited."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from feature_flags.admin.common import may_see_segments
from feature_flags.formats import switchboard
from feature_flags.models import FeatureFlag, Segment
from feature_flags.services.storage import segments_used
from lib.actors import Actor
from lib.admin.verbs import VerbAdmin

LIMIT = 10_000


def download(model_admin: VerbAdmin, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> HttpResponse | None:
    """The selected flags and, for staff who may see them, the segments their rules refer to."""
    site: Any = model_admin.admin_site
    if not site.is_fresh(request):
        then = "Thank you. Now export once more."
        answer: HttpResponse = site.ask_proof(request, back_url=request.get_full_path(), then=then)
        return answer
    pks = list(queryset.order_by("codename").values_list("pk", flat=True)[: LIMIT + 1])
    if len(pks) > LIMIT:
        model_admin.message_user(request, f"Select at most {LIMIT:,} at once.", messages.ERROR)
        return None
    documents = FeatureFlag.objects.filter(pk__in=pks).documents()
    used = {name for document in documents.values() for name in segments_used(document)}
    shown = Segment.objects.filter(name__in=used) if may_see_segments(request) else Segment.objects.none()
    segments = [segment.document for segment in shown.order_by("name")]
    codenames = sorted(document["codename"] for document in documents.values())
    Actor.of(request, "admin").note("flags.exported", count=len(documents), flags=codenames[:100])
    headers = {"Content-Disposition": 'attachment; filename="feature-flags.json"'}
    text = switchboard.dump(documents.values(), segments)
    return HttpResponse(text, content_type="application/json", headers=headers)
