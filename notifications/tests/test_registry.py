import pytest
from pydantic import BaseModel

import notifications
from notifications.tests import kinds


class Loose(BaseModel):
    name: str = ""


@pytest.mark.parametrize(
    ("code", "options", "complaint"),
    [
        ("tests.hello", {}, "declared twice"),
        ("hello", {}, "not of the form"),
        ("tests.new", {"context": Loose}, "forbid extra keys"),
        ("tests.new", {"secrets": ("first_name",)}, "no context may store it"),
        ("tests.new", {"secrets": ("code",), "derive": None}, "need a derive"),
        ("tests.new", {"priority": 3}, "SECURITY, ACCOUNT or BULK"),
    ],
)
def test_mistakes_are_refused_at_the_declaration(code, options, complaint):
    options = {"label": "New", "context": kinds.Context, "derive": kinds.derive} | options

    with pytest.raises(ValueError, match=complaint):
        notifications.declare(code, **options)


def test_a_declared_type_is_found():
    assert notifications.get("tests.hello").folder == "emails/tests/hello"
    with pytest.raises(notifications.UnknownType):
        notifications.get("tests.nothing")
