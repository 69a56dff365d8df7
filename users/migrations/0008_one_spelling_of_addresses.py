"""Addresses in the one spelling that lib/addresses.py gives them; what cannot have it stays, and is named."""

from django.db import migrations
from django.db.models import F

from lib.addresses import ascii_domain, canonical


def respell(apps, schema_editor):
    users = apps.get_model("users", "User").objects
    # Of several that become one the account in use comes first.
    in_use = (F("email_verified_at").asc(nulls_last=True), F("last_login").desc(nulls_last=True), "created_at")
    for key, email in users.order_by(*in_use).values_list("pk", "email").iterator():
        try:
            wanted = canonical(email)
        except ValueError as error:
            print(f"  {email!a} stays as it is: it {error}.")
            continue
        before, now = _mailed_before(email), ascii_domain(wanted.rpartition("@")[2])
        if not email.isascii() and before not in {"", now}:
            print(f"  {email!a} was mailed at {before}, and is at {now} from here on: ask whose account it is.")
        if wanted == email:
            continue
        if users.filter(email=wanted).exists():
            print(f"  {email!a} stays as it is: {wanted!a} is an account of the same mailbox.")
        else:
            users.filter(pk=key).update(email=wanted)
    tokens = apps.get_model("users", "OneTimeToken").objects.exclude(email="")
    for key, email in tokens.values_list("pk", "email").iterator():
        try:
            wanted = canonical(email)
        except ValueError:
            continue
        if wanted != email and not users.filter(email=email).exists():
            tokens.filter(pk=key).update(email=wanted)


def _mailed_before(email):
    """The domain as releases before this one mailed it (IDNA 2003): `straße` at `strasse`."""
    try:
        return email.rpartition("@")[2].encode("idna").decode().lower()
    except UnicodeError:
        return ""


class Migration(migrations.Migration):
    dependencies = [("users", "0007_refresh_token_repeated_at")]

    operations = [migrations.RunPython(respell, migrations.RunPython.noop)]
