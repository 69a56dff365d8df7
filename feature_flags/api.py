"""The public list of flags."""

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from ninja import Router

from feature_flags import store
from feature_flags.schemas import FlagOut

router = Router(tags=["Feature flags"])

_seed_list = sync_to_async(store.seed_list)  # wrapped once: wrapping costs more than the call


@router.get("/feature-flags", response=list[FlagOut], auth=None, summary="All flags", operation_id="list_feature_flags")
@router.get("", response=list[FlagOut], auth=None, summary="All flags, short path", operation_id="list_flags")
async def list_flags(request: HttpRequest) -> HttpResponse:
    """Every flag with its stored switch, in codename order."""
    # Ready bytes: the snapshot holds the answer, so nothing is serialised per request.
    body = await _seed_list()
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-cache"})
