"""Real processes for the tests that need them: databases of their own and servers on free ports."""

import contextlib
import fcntl
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections

ROOT = Path(settings.BASE_DIR)
#: Seconds. Only what is broken takes so long, also on a machine that does much else.
DEADLINE = 300
#: pytest-django's, without which no test reaches a database; conftest.py puts it here.
blocker = None
#: A directory that the workers of one run share; conftest.py puts it here.
shared = None
#: What Django calls the test database of a run without workers; theirs are named after it.
TEST_DATABASE = settings.DATABASES["default"]["TEST"].get("NAME") or f"test_{settings.DATABASES['default']['NAME']}"
#: The database that migrated ones are copies of.
TEMPLATE = f"{TEST_DATABASE}_template"


def until(condition, deadline=DEADLINE):
    """Ask `condition` until it answers something true; fail when it never does."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"never came true: {condition}")


def template():
    """The name of a database as migrations leave it, to make copies of, which takes no time.

    One worker of a run of the tests migrates it for all; the others wait for it.
    """
    with (shared / "migrated").open("a") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if not os.fstat(made.fileno()).st_size:
            drop(TEMPLATE)
            create(TEMPLATE)
            with connected(_url(TEMPLATE)):
                call_command("migrate", verbosity=0)
            made.write("yes")
    return TEMPLATE


def create(name, copied=""):
    """Make a database of the kind the suite runs on; one of SQLite is a file, which comes with its first table."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {copied}" if copied else ""))
    elif copied:
        shutil.copy(copied, name)


def drop(name):
    if url := os.environ.get("TEST_DATABASE_URL"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    else:
        for suffix in ("", "-wal", "-shm"):
            Path(name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def database(tmp_path, *, migrated=False):
    """The URL of a new database of the kind the suite runs on."""
    is_file = not os.environ.get("TEST_DATABASE_URL")
    name = str(tmp_path / "process.sqlite3") if is_file else f"switchboard_process_{secrets.token_hex(4)}"
    create(name, template() if migrated else "")
    try:
        yield _url(name)
    finally:
        if not is_file:  # a test may look at the file afterwards
            drop(name)


def _url(name):
    url = os.environ.get("TEST_DATABASE_URL")
    return f"{url.rpartition('/')[0]}/{name}" if url else f"sqlite:///{name}"


def _name(url):
    return url.removeprefix("sqlite:///") if url.startswith("sqlite") else url.rpartition("/")[2]


@contextlib.contextmanager
def connected(url):
    """In this block the ORM, services and `call_command` of this process use another database."""
    before = connections["default"]
    with blocker.unblock():
        connections["default"] = type(before)({**before.settings_dict, "NAME": _name(url)}, "default")
        try:
            yield
        finally:
            connections["default"].close()
            connections["default"] = before


def environment(database_url, **changes):
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return keep | {
        "ENV_FILE": "",
        "DEBUG": "0",
        "ENVIRONMENT": "test",
        # Those of this process: what one signs, the other reads.
        "SECRET_KEY": os.environ["SECRET_KEY"],
        "USERS_TOKEN_SECRET": os.environ["USERS_TOKEN_SECRET"],
        "DATABASE_URL": database_url,
        "BASE_URL": "http://127.0.0.1",
        "APP_URL": "https://app.example.org",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "CORS_ORIGINS": "https://app.example.org",
        "EMAIL_URL": "dummymail://",
        "USERS_ARGON2_MEMORY": "64",
        "USERS_ARGON2_TIME": "1",
        "USERS_RETURN_VERIFICATION_TOKENS": "1",
        "USERS_RETURN_FORGOT_PASSWORD_TOKEN": "1",
        "DRAIN_SECONDS": "0",
        **changes,
    }


def fetch(url):
    """Status of a GET on a connection of its own, None when there is no answer. httpx would load certificates first."""
    address = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=10)) as connection:
        try:
            connection.request("GET", address.path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def manage(*arguments, env, **options):
    """Start Python anew for a command: where the start, or a setting of `env`, is what is tested."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=env,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=DEADLINE,
        **options,
    )


def command(url, *arguments, input="", stdout=None, closed=()):
    """Run `manage.py` on another database in a fork of this process: real streams and exit codes without the seconds
    that a start of Python and Django takes.

    `stdout`: a descriptor to write to instead of the result. `closed`: of 0, 1 and 2, those the command starts without.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(input.encode())
        given.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of this process, which the fork leaves
            child = os.fork()
        if child == 0:
            for number, target in enumerate((given.fileno(), stdout or out.fileno(), err.fileno())):
                os.close(number) if number in closed else os.dup2(target, number)
            run_forked(url, *arguments, closed=closed)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return SimpleNamespace(returncode=code, stdout=out.read().decode(), stderr=err.read().decode())


def run_forked(url, *arguments, closed=()):
    """`manage.py` in a process that was just forked; it ends with the exit code that Python would give."""
    code = 1
    try:
        for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
            errors = "backslashreplace" if name == "stderr" else "surrogateescape"
            setattr(sys, name, None if number in closed else os.fdopen(number, mode, encoding="utf-8", errors=errors))
        sys.argv = [str(ROOT / "manage.py"), *arguments]
        os.chdir(ROOT)
        settings.NOTIFICATIONS_ENGINE = "embedded"  # a command leaves the mails to a worker
        with connected(url):
            import_module("manage").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str) and sys.stderr:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream:
                    stream.flush()
        except OSError:
            code = 120
        os._exit(code)


class Server:
    """A running `manage.py serve`; `url` is where it answers, `database_url` where its rows are, `root` its files."""

    def __init__(self, env, *, log, arguments=(), umask=-1, root=ROOT):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self.env = {**env, "PORT": str(port)}
        self.database_url = env["DATABASE_URL"]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(root / "manage.py"), "serve", *arguments],
                env=self.env,
                cwd=root,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=umask,
            )

    def is_up(self, path="/healthz"):
        assert self.process.poll() is None, self.log.read_text()
        return fetch(self.url + path) == 200

    def stop(self, sent=signal.SIGTERM):
        """Ask it to stop and return the seconds that took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(sent)
            self.process.wait(DEADLINE)
        return time.monotonic() - started

    def command(self, *arguments, **options):
        return command(self.database_url, *arguments, **options)

    def connected(self):
        return connected(self.database_url)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)


@contextlib.contextmanager
def serving(tmp_path, *, path="/readyz", **changes):
    """A migrated, ready server on a database of its own."""
    with database(tmp_path, migrated=True) as url:
        server = Server(environment(url, **changes), log=tmp_path / "server.log")
        try:
            until(lambda: server.is_up(path))
            yield server
        finally:
            server.kill()
