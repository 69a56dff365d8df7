"""The rows every server starts from: 20 flags and 100 people who may sign in."""

FLAGS = 20
# More people than clients: the limiter takes many attempts at once on one account for guessing.
PEOPLE = 100
PASSWORD = "Correct-Horse-7!"
FIRST_NAME = "Ada"
LAST_NAME = "Lovelace"


def email(number: int | str) -> str:
    return f"ada{number}@example.org"


def flag(number: int) -> dict[str, object]:
    """The columns of one flag, as the flag list shows them."""
    return {
        "codename": f"BENCH_FLAG_{number:02}",
        "label": f"Flag {number}",
        "description": f"What flag {number} switches, in about as many words as people write.",
        "is_active": number % 2 == 0,
    }
