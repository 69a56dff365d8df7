"""Addresses in the one spelling that lib/addresses.py gives them, so that lists and counts go on to hold."""

from django.db import migrations

from lib.addresses import canonical

# Plain ASCII in lower case is in its one spelling already, unless it holds one of these.
_ODD = r'[^ -~]|xn--|"|\['


def respell(apps, schema_editor):
    for model, field in (("Message", "to_address"), ("DeliveryEvent", "recipient")):
        rows = apps.get_model("notifications", model).objects
        for address in list(rows.filter(**{f"{field}__regex": _ODD}).values_list(field, flat=True).distinct()):
            if (wanted := _canonical(address)) != address:
                rows.filter(**{field: address}).update(**{field: wanted})
    suppressions = apps.get_model("notifications", "Suppression").objects
    for row in list(suppressions.filter(address__regex=_ODD)):
        if (wanted := _canonical(row.address)) == row.address:
            continue
        same = suppressions.filter(address=wanted, channel=row.channel, scope=row.scope)
        if not same.exists():
            suppressions.filter(pk=row.pk).update(address=wanted)
            continue
        # The one that lasts longer stays.
        if row.expires_at is None:
            same.update(expires_at=None)
        else:
            same.filter(expires_at__lt=row.expires_at).update(expires_at=row.expires_at)
        suppressions.filter(pk=row.pk).delete()


def _canonical(address):
    try:
        return canonical(address)
    except ValueError:
        return address


class Migration(migrations.Migration):
    dependencies = [("notifications", "0004_lift_suppressions_for_the_senders_trouble")]

    operations = [migrations.RunPython(respell, migrations.RunPython.noop)]
