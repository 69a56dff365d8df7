"""How many HTTP requests this process was asked: counted by the event loop (lib/asgi.py), read by any thread."""

requests = 0


def count() -> None:
    global requests
    requests += 1
