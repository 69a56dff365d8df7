"""Pages of the admin beside Django's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


def render_page(model_admin: ModelAdmin, request: HttpRequest, template: str, /, **context: Any) -> TemplateResponse:
    """A page about objects of `model_admin`, in the frame of its site."""
    site = model_admin.admin_site
    request.current_app = site.name
    frame = {**site.each_context(request), "opts": model_admin.opts, "media": model_admin.media}
    return TemplateResponse(request, template, {**frame, **context})


def has_fresh_proof(site: Any, request: HttpRequest, form: forms.Form) -> bool:
    """Whether the sender of this form has proved lately who they are.

    Otherwise the form gets an error that links to the proof: what was typed stays on the page, and the proof is given
    on another.
    """
    if site.is_fresh(request):
        return True
    refusal = format_html(
        'This is a sensitive change: <a href="{}" target="_blank" rel="noopener">prove once more that it is you</a>,'
        " then send this form again.",
        site.proof_url(request.get_full_path()),
    )
    form.add_error(None, refusal)
    return False
