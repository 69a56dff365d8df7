"""A running server of two processes with some flags in it, as an operator sets it up."""

import contextlib
import json
from dataclasses import dataclass

from project.tests.processes import Server, manage, serving, until

_FLAGS = """
from feature_flags import models
from lib.actors import Actor
from feature_flags.services import editing, segments
who = {"actor": Actor.command("test")}
red_and_blue = [{"name": "red", "payload": "#f00"}, {"name": "blue", "payload": "#00f"}]
italians = [{"field": "country", "operator": "IN", "values": ["IT"]}]
segments.create_segment("italy", constraints=italians, **who)
editing.create("FF_SWITCH", **who)
editing.create("FF_ITALY", is_active=True, rules=[{"segments": ["italy"]}], **who)
editing.create("FF_HALF", is_active=True, rollout_percent=50, **who)
editing.create("FF_COLOUR", is_active=True, value_type="string", off_value="#000", variants=red_and_blue, **who)
editing.create("FF_COUNT", is_active=True, value_type="integer", variants=[{"name": "n", "payload": 5}], **who)
editing.create("FF_RATIO", is_active=True, value_type="float", variants=[{"name": "n", "payload": 5}], **who)
editing.create("FF_SHAPE", is_active=True, value_type="object", variants=[{"name": "n", "payload": {"a": [1]}}], **who)
editing.create("FF_UNSET", value_type="string", variants=[{"name": "n", "payload": "x"}], **who)
"""
_ANSWERS = """
import json
from feature_flags import evaluation as flags
people = [{"userId": f"user-{n}", "country": "IT"} for n in range(50)]
print(json.dumps([[flags.is_enabled("FF_HALF", who), flags.variant("FF_COLOUR", who).name] for who in people]))
"""


@dataclass
class Shop:
    server: Server
    server_token: str
    frontend_token: str

    @property
    def url(self):
        return self.server.url

    def switch(self, on, codename="FF_SWITCH"):
        done = self.server.command("set_feature_flag", codename, "on" if on else "off")
        assert done.returncode == 0, done.stderr

    def script(self, script):
        done = self.server.command("shell", "-v", "0", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def token(self, kind, *arguments):
        made = self.server.command("create_flag_token", "--name", kind, "--kind", kind, *arguments)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def usage(self, app_name):
        """`{codename: [yes, no]}` of what one application has reported."""
        found = self.script(
            "import json; from feature_flags.models import FlagUsage\n"
            f"rows = FlagUsage.objects.filter(app_name='{app_name}', variant='')\n"
            "print(json.dumps({row.codename: [row.yes, row.no] for row in rows}))"
        )
        return json.loads(found)

    def answers(self):
        """`[half, colour]` for `user-0` to `user-49`, by our own evaluator."""
        # A new process: a fork would still hold the flags of this one.
        done = manage("shell", "-v", "0", "-c", _ANSWERS, env=self.server.env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextlib.contextmanager
def open_shop(tmp_path, **changes):
    with serving(tmp_path, WEB_CONCURRENCY="2", FLAGS_USAGE_FLUSH_SECONDS="1", **changes) as server:
        shop = Shop(server, "", "")
        shop.script(_FLAGS)
        shop.server_token, shop.frontend_token = shop.token("server"), shop.token("frontend")
        yield shop


__all__ = ["Shop", "open_shop", "until"]
