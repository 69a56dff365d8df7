import factory
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from feature_flags.models import FeatureFlag
from feature_flags.runtime import store
from feature_flags.services import editing
from lib.actors import Actor

COMMAND = {"actor": Actor.command("test")}


class FeatureFlagFactory(factory.django.DjangoModelFactory):
    """Flags as the verbs make them; `on=True` for one that was switched on."""

    class Meta:
        model = FeatureFlag

    codename = factory.Sequence(lambda n: f"FF_TEST_{n}")

    @classmethod
    def _create(cls, model_class, *args, on=False, **kwargs):
        flag = editing.create(**kwargs, **COMMAND)
        if on:
            editing.switch(flag, on=True, **COMMAND)
        return flag


def make_staff(email="staff@example.org", *permissions):
    user = get_user_model().objects.create_user(email, None, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="feature_flags", codename__in=permissions)
    )
    return user


def break_flag(flag):
    """A constraint that no verb would have written, in the flag's rules; readers find it at once."""
    constraint = {"field": "age", "operator": "NUM_GT", "value": "many"}
    rewrite_rules(flag, constraints=[constraint])
    store.put(None)
    return flag


def document_of(flag):
    return FeatureFlag.objects.get(pk=flag.pk).document


def rewrite(flag, **members):
    """Members of the definition as no service has written them."""
    stored = FeatureFlag.objects.get(pk=flag.pk)
    FeatureFlag.objects.filter(pk=flag.pk).update(definition={**stored.definition, **members})


def rewrite_rules(flag, **members):
    rewrite(flag, rules=[{**rule, **members} for rule in document_of(flag)["rules"]])
