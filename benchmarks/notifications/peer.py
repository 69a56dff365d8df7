"""The same mail as a task of django-tasks-db."""

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django_tasks import task

from benchmarks.notifications import types


@task()
def send(to: str, number: int) -> None:
    """As the manuals show it: render two templates, send one mail."""
    context = {
        "first_name": "Ada",
        "number": number,
        "code": types.code(number),
        "product_name": settings.PRODUCT_NAME,
        "app_url": settings.APP_URL,
        "reason": f"You receive this e-mail because your address was used at {settings.PRODUCT_NAME}.",
    }
    folder = "emails/benchmarks/mail"
    subject = render_to_string(f"{folder}/subject.txt", context).strip()
    text = render_to_string(f"{folder}/body.txt", context)
    mail = EmailMultiAlternatives(subject, text, settings.DEFAULT_FROM_EMAIL, [to])
    mail.attach_alternative(render_to_string(f"{folder}/body.html", context), "text/html")
    mail.send()
