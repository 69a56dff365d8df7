from datetime import timedelta

import factory
from django.utils import timezone

from notifications.models import InAppNotification, Message


class MessageFactory(factory.django.DjangoModelFactory):
    """A row as `queue` leaves it, without its wake-up."""

    class Meta:
        model = Message

    class Params:
        finished = factory.Trait(state="sent", due_at=None, finished_at=factory.LazyFunction(timezone.now))
        expired = factory.Trait(expires_at=factory.LazyFunction(lambda: timezone.now() - timedelta(seconds=1)))
        interrupted = factory.Trait(
            state="sending",
            attempts=1,
            lease_token=factory.Faker("uuid4"),
            handed_at=factory.LazyFunction(lambda: timezone.now() - timedelta(minutes=1)),
        )

    type = "tests.hello"
    category = "security"
    language = "en"
    priority = 0
    max_attempts = 8
    context = factory.LazyFunction(lambda: {"first_name": "Ada", "number": 1})
    to_address = factory.Sequence(lambda n: f"person{n}@example.org")
    message_id = factory.LazyAttribute(lambda row: f"<{row.to_address.replace('@', '.')}@example.org>")
    created_at = factory.LazyFunction(lambda: timezone.now() - timedelta(seconds=2))
    due_at = factory.SelfAttribute("created_at")
    expires_at = factory.LazyAttribute(lambda row: row.created_at + timedelta(hours=72))


class InAppFactory(factory.django.DjangoModelFactory):
    """What a person finds in the product; give it a `user`."""

    class Meta:
        model = InAppNotification

    class Params:
        read = factory.Trait(read_at=factory.LazyFunction(timezone.now), seen_at=factory.LazyFunction(timezone.now))

    type = "tests.offer"
    category = "announcement"
    title = factory.Sequence(lambda n: f"Offer {n}")
