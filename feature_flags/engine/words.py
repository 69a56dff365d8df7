"""The words of the engine: English, until the caller that shows them to people says how they are translated."""

from collections.abc import Callable

#: Translates a sentence for the reader of this moment; set once, while the apps start.
translator: Callable[[str], str] = str


def translate(text: str) -> str:
    return translator(text)


def gettext_noop(text: str) -> str:
    """A text that is translated where it is shown."""
    return text
