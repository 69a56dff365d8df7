"""Groups and what their members may do: changing them gives rights, so only superusers may, with a fresh proof."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from users.services import staff

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin):
    actions = None  # groups are deleted one by one, on their page

    def _is_superuser(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    has_add_permission = has_change_permission = has_delete_permission = _is_superuser

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._proof(request) or super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._proof(request) or super().delete_view(request, *args, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        staff.note_group(form.instance, actor=Actor.of(request, "admin"))

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        staff.note_group(obj, actor=Actor.of(request, "admin"), deleted=True)
        super().delete_model(request, obj)

    def _proof(self, request: HttpRequest) -> HttpResponse | None:
        """The page that asks for a fresh proof, before a change; None where there is one."""
        site: Any = self.admin_site
        if request.method != "POST" or not request.user.is_superuser or site.is_fresh(request):
            return None
        then = str(_("Thank you. Now change the rights once more."))
        answer: HttpResponse = site.ask_proof(request, back_url=request.get_full_path(), then=then)
        return answer
