"""What ends a command with one line on stderr, and how text of others becomes one line."""


class Refused(Exception):
    """Exit code 1: the server refused, or there was no answer."""


class Misused(Exception):
    """Exit code 2: wrong arguments or settings; nothing was sent."""


def plain(text: object, keep: str = "") -> str:
    """Without what would steer a terminal or end the line: others may have written this. `keep`: signs that stay."""
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in str(text)
    )
