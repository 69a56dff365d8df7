"""How many statements a request takes, counted in the running server."""

from collections.abc import Callable

from benchmarks.accounts.client import Answer, Client, login_form
from benchmarks.accounts.scene import INSIDE, Scene
from benchmarks.report import Samples
from benchmarks.servers import USER

REPEATS = 5
REFRESH = "/api/auth/refresh-tokens"


def run(scene: Scene) -> Samples:
    """The most of a few repeats; what a process asks once in ten minutes is asked before."""
    email, other = scene.people(0, 2)
    server = scene.serve("queries", application=INSIDE)
    client = Client(server.base)
    client.login("nobody@example.org", "Wrong-Horse-7!")
    answer = client.login(email).expect(200, "login")
    signed_in, device = answer.json, answer.headers["set-cookie"].partition(";")[0]
    tokens = [signed_in["refresh_token"]]

    def refresh() -> Answer:
        answer = client.post(REFRESH, token=tokens[-1])
        tokens.append(answer.json["refresh_token"])
        return answer

    calls: dict[str, tuple[int, Callable[[], Answer]]] = {
        "authenticated": (200, lambda: client.ask("GET", USER, bearer=signed_in["access_token"])),
        # As a browser does it, with the cookie of the sign-in before; without it a mail is queued.
        "login": (200, lambda: client.ask("POST", *login_form(email), Cookie=device)),
        "failed_login": (400, lambda: client.login(other, "Wrong-Horse-7!")),
        "failed_login_unknown": (400, lambda: client.login("stranger@example.org", "Wrong-Horse-7!")),
        "refresh": (200, refresh),
    }
    samples: Samples = {}
    for figure, (status, call) in calls.items():
        counts = []
        # Fewer than the limit takes: a paused login asks less.
        for _ in range(REPEATS - 1):
            client.ask("GET", "/bench/statements")
            call().expect(status, figure)
            counts.append(float(len(client.ask("GET", "/bench/statements").json)))
        samples[scene.vendor, f"queries_{figure}"] = counts
    return samples
