"""The page on which staff choose the language of the pages they read."""

from typing import cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import translation
from django.utils.translation import get_language_info, gettext
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.errors import ProductError
from users.models import User
from users.services import personal_data
from users.staff_site.pages import page


def choose(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    if request.method == "POST":
        language = request.POST.get("language", "")
        try:
            personal_data.choose_language(user, language, actor=Actor.of(request, "admin"))
        except ProductError as error:
            messages.error(request, error.message)
        else:
            with translation.override(language or translation.get_language()):
                messages.success(request, gettext("Your language is kept in your account."))
        return HttpResponseRedirect(reverse("admin:language"))
    names = [(code, get_language_info(code)["name_local"].capitalize()) for code in settings.PAGE_LANGUAGES]
    return page(request, "language", _("Language"), languages=names, chosen=user.chosen_language)
