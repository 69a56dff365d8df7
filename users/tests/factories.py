import factory
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from users.models import User

PASSWORD = "Correct-Horse-7"


class UserFactory(factory.django.DjangoModelFactory):
    """A verified, active person whose password is PASSWORD."""

    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"person{n}@example.org")
    first_name = "Ada"
    last_name = "Lovelace"
    password = factory.LazyFunction(lambda: make_password(PASSWORD))
    email_verified_at = factory.LazyFunction(timezone.now)

    class Params:
        unverified = factory.Trait(email_verified_at=None)
        inactive = factory.Trait(is_active=False, deactivated_at=factory.LazyFunction(timezone.now))
        staff = factory.Trait(is_staff=True)
        superuser = factory.Trait(is_staff=True, is_superuser=True)
