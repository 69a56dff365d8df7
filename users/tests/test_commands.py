import contextlib
import io
import os
import pty
import select
import signal
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from lib.actors import RequestInfo
from notifications.models import Message
from project.tests import processes
from users.models import AuditEvent, User, UserSession
from users.services import rate_limits, sessions, sign_in
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
NEW = "Another-Horse-8"
COMMANDS = ["activate_user", "deactivate_user", "reset_user_password"]


def run(name, *arguments, **options):
    """What the command printed: stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def open_sessions(user, count=1):
    for _ in range(count):
        sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())


def pause(user):
    for _ in range(rate_limits.LOGIN.max_count):
        rate_limits.reserve(sign_in.login_bucket(user.email, RequestInfo("203.0.113.7")))


def live(user):
    return UserSession.objects.live(timezone.now()).filter(user=user).count()


# --- activate_user ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["ada@example.org", "ADA@Example.ORG", " ada@example.org "])
def test_activating(typed):
    user = UserFactory.create(email="ada@example.org", inactive=True)
    pause(user)

    assert run("activate_user", typed) == ("ada@example.org is active\n", "")

    user.refresh_from_db()
    assert (user.is_active, user.deactivated_at, user.updated_by) == (True, None, "command:activate_user")
    assert not rate_limits.is_paused(user.email)


def test_activating_does_not_verify_and_says_so():
    user = UserFactory.create(email="ada@example.org", inactive=True, unverified=True)

    assert run("activate_user", "ada@example.org") == ("ada@example.org is active (address not verified)\n", "")

    user.refresh_from_db()
    assert (user.is_active, user.is_verified) == (True, False)


def test_activating_again_lifts_the_pause_and_says_the_same():
    user = UserFactory.create(email="ada@example.org")
    pause(user)
    before = User.objects.values().get()

    assert run("activate_user", "ada@example.org") == ("ada@example.org is active\n", "")

    assert User.objects.values().get() == before
    assert not rate_limits.is_paused(user.email)


def test_activating_several():
    UserFactory.create(email="a@example.org", inactive=True)
    UserFactory.create(email="b@example.org", inactive=True)

    assert run("activate_user", "a@example.org", "B@example.org")[0].splitlines() == [
        "a@example.org is active",
        "b@example.org is active",
    ]


# --- deactivate_user --------------------------------------------------------------------------------------------------


def test_deactivating():
    user = UserFactory.create(email="ada@example.org")
    open_sessions(user, 2)

    assert run("deactivate_user", "Ada@Example.org") == ("ada@example.org is deactivated\n", "")

    user.refresh_from_db()
    assert (user.is_active, user.deactivated_reason) == (False, "command line")
    assert (user.deactivated_at is not None, user.updated_by) == (True, "command:deactivate_user")
    assert live(user) == 0


def test_deactivating_keeps_the_reason_given():
    user = UserFactory.create(email="ada@example.org")

    run("deactivate_user", "ada@example.org", "--reason", "left the company")

    user.refresh_from_db()
    assert user.deactivated_reason == "left the company"


def test_deactivating_again_keeps_the_first_reason():
    user = UserFactory.create(email="ada@example.org")
    run("deactivate_user", "ada@example.org", "--reason", "first")

    assert run("deactivate_user", "ada@example.org", "--reason", "second")[0] == "ada@example.org is deactivated\n"

    user.refresh_from_db()
    assert user.deactivated_reason == "first"


@pytest.mark.parametrize(
    ("reason", "message"), [("  ", "Say why."), ("x" * 201, "A reason has at most 200 characters.")]
)
def test_deactivating_needs_a_reason_that_fits(reason, message):
    user = UserFactory.create(email="ada@example.org")

    with pytest.raises(CommandError, match=message) as refused:
        run("deactivate_user", "ada@example.org", reason=reason)

    assert refused.value.returncode == 1
    user.refresh_from_db()
    assert user.is_active


def test_the_last_superuser_is_not_deactivated():
    UserFactory.create(email="root@example.org", superuser=True)

    with pytest.raises(CommandError, match="This is the last active superuser.") as refused:
        run("deactivate_user", "root@example.org")

    assert refused.value.returncode == 1
    assert User.objects.get().is_active


# --- reset_user_password ----------------------------------------------------------------------------------------------


def test_resetting_with_an_argument():
    user = UserFactory.create(email="ada@example.org", inactive=True, unverified=True)
    open_sessions(user, 2)
    pause(user)

    out, err = run("reset_user_password", "ADA@example.org", NEW)

    assert out == "ada@example.org reset, 2 sessions ended.\n"
    assert len(err.splitlines()) == 1
    assert "shell's history" in err
    assert NEW not in err
    user.refresh_from_db()
    assert user.check_password(NEW)
    assert (user.is_active, user.deactivated_reason, user.is_verified) == (True, "", False)
    assert user.updated_by == "command:reset_user_password"
    assert live(user) == 0
    assert not rate_limits.is_paused(user.email)


@pytest.mark.parametrize("line", [NEW + "\n", NEW + "\r\n", NEW, NEW + "\nmore\n"])
def test_resetting_from_standard_input(monkeypatch, line):
    user = UserFactory.create(email="ada@example.org")
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))

    assert run("reset_user_password", "ada@example.org", "--stdin") == (
        "ada@example.org reset, 0 sessions ended.\n",
        "",
    )

    user.refresh_from_db()
    assert user.check_password(NEW)


def test_blanks_belong_to_the_password(monkeypatch):
    user = UserFactory.create(email="ada@example.org")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"  {NEW} \n"))

    run("reset_user_password", "ada@example.org", "--stdin")

    user.refresh_from_db()
    assert user.check_password(f"  {NEW} ")


def test_a_generated_password_is_printed_once_and_works():
    user = UserFactory.create(email="ada@example.org")

    first = run("reset_user_password", "ada@example.org", "--generate")[0].splitlines()
    second = run("reset_user_password", "ada@example.org", "--generate")[0].splitlines()

    assert first[0] == "ada@example.org reset, 0 sessions ended."
    assert len(first) == 2
    assert first[1] != second[1]
    user.refresh_from_db()
    assert user.check_password(second[1])


def test_sending_a_link_changes_nothing_else():
    user = UserFactory.create(email="ada@example.org")
    open_sessions(user)

    assert run("reset_user_password", "Ada@example.org", "--send-link") == ("ada@example.org gets a reset link.\n", "")

    assert Message.objects.get().to_address == "ada@example.org"
    assert live(user) == 1
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_no_link_for_a_deactivated_account():
    UserFactory.create(email="ada@example.org", inactive=True)

    with pytest.raises(CommandError, match="activate it first"):
        run("reset_user_password", "ada@example.org", "--send-link")

    assert not Message.objects.exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def typing(monkeypatch, *passwords):
    answers = iter(passwords)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))


def test_on_a_terminal_it_asks_twice(monkeypatch):
    user = UserFactory.create(email="ada@example.org")
    typing(monkeypatch, NEW, NEW)

    assert run("reset_user_password", "ada@example.org") == ("ada@example.org reset, 0 sessions ended.\n", "")

    user.refresh_from_db()
    assert user.check_password(NEW)


def test_django_s_own_name_for_it_ends_sessions_and_is_on_record(monkeypatch):
    user = UserFactory.create(email="ada@example.org")
    open_sessions(user, 2)
    typing(monkeypatch, NEW, NEW)

    run("changepassword", "Ada@example.org")

    user.refresh_from_db()
    assert user.check_password(NEW)
    assert live(user) == 0
    assert AuditEvent.objects.filter(event="password.reset", user_id=user.pk, actor="command:changepassword").exists()


def test_two_different_answers_change_nothing(monkeypatch):
    user = UserFactory.create(email="ada@example.org")
    typing(monkeypatch, NEW, "Something-Else-9")

    with pytest.raises(CommandError, match="The two passwords differ.") as refused:
        run("reset_user_password", "ada@example.org")

    assert refused.value.returncode == 1
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_without_password_and_terminal_it_is_a_usage_error(monkeypatch):
    UserFactory.create(email="ada@example.org")
    monkeypatch.setattr(sys, "stdin", io.StringIO(NEW))

    with pytest.raises(CommandError, match="Give PASSWORD, --stdin, --generate or --send-link.") as refused:
        run("reset_user_password", "ada@example.org")

    assert refused.value.returncode == 2


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("", "The password is too short."),
        ("Short-1", "The password is too short."),
        ("x" * 1025, "The password is too long."),
        ("Password1!", "The password is too common."),
        ("lower-case-7", "The password needs an upper-case letter."),
        ("Example-ada.l-7", "The password repeats the e-mail address or the product's name."),
    ],
)
def test_the_policy_holds_for_operators_too(password, rule):
    user = UserFactory.create(email="ada.l@example.org", inactive=True)
    open_sessions(user)

    with pytest.raises(CommandError, match=rule) as refused:
        run("reset_user_password", "ada.l@example.org", password)

    assert refused.value.returncode == 1
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not user.is_active
    assert live(user) == 1


# --- All of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("email", ["nobody@example.org", "Nobody@example.org", "no address", ""])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_person(name, email):
    more = ["--generate"] if name == "reset_user_password" else []

    with pytest.raises(CommandError) as refused:
        run(name, email, *more)

    assert (str(refused.value), refused.value.returncode) == (f"No user {email}.", 1)


@pytest.mark.parametrize(
    "email",
    [
        "nul\x00@example.org",
        "surrogate\ud800@example.org",
    ],
)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_address_no_database_could_hold(name, email):
    more = ["--generate"] if name == "reset_user_password" else []

    with pytest.raises(CommandError, match="^No user") as refused:
        run(name, email, *more)

    assert refused.value.returncode == 1


@pytest.mark.parametrize("password", ["Good-enough-7\x00", "Good-enough-7\ud800"])
def test_a_password_nobody_could_type(password):
    user = UserFactory.create(email="ada@example.org")

    with pytest.raises(CommandError) as refused:
        run("reset_user_password", "ada@example.org", password)

    assert refused.value.returncode == 1
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("activate_user", []),
        ("deactivate_user", []),
        ("reset_user_password", []),
        ("reset_user_password", ["a@example.org", NEW, "--generate"]),
        ("reset_user_password", ["a@example.org", "--stdin", "--send-link"]),
        ("activate_user", ["a@example.org", "--nonsense"]),
    ],
)
def test_wrong_arguments(name, arguments):
    with pytest.raises(CommandError) as refused:
        run(name, *arguments)

    assert refused.value.returncode == 2


# --- As operators run them --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """`manage.py` on a migrated database of its own."""
    with processes.database(tmp_path_factory.mktemp("commands"), migrated=True) as url:
        with processes.connected(url):
            for name in ("ada", "bob", "eve"):
                UserFactory.create(email=f"{name}@example.org", unverified=True)

        def manage(*arguments, stdin=""):
            done = processes.command(url, *arguments, input=stdin)
            assert "Traceback" not in done.stderr
            assert "Traceback" not in done.stdout
            return done.returncode, done.stdout, done.stderr

        yield manage


def test_the_shell_sees_what_the_contract_says(shell):
    assert shell("deactivate_user", "ADA@example.org", "--reason", "left") == (
        0,
        "ada@example.org is deactivated\n",
        "",
    )
    assert shell("activate_user", "Ada@Example.ORG") == (0, "ada@example.org is active (address not verified)\n", "")
    done = shell("reset_user_password", "Ada@example.org", "--stdin", stdin=NEW + "\n")
    assert done == (0, "ada@example.org reset, 0 sessions ended.\n", "")


def test_the_shell_is_warned_of_its_history(shell):
    code, out, err = shell("reset_user_password", "ada@example.org", NEW)

    assert (code, out) == (0, "ada@example.org reset, 0 sessions ended.\n")
    assert len(err.splitlines()) == 1
    assert NEW not in err


def test_the_shell_gets_a_link(shell):
    assert shell("reset_user_password", "ada@example.org", "--send-link") == (
        0,
        "ada@example.org gets a reset link.\n",
        "",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_shell_is_refused_in_one_line(shell, name):
    more = ["--generate"] if name == "reset_user_password" else []

    assert shell(name, "nobody@example.org", *more) == (1, "", "No user nobody@example.org.\n")


def test_of_a_selection_the_unknown_are_told_and_the_others_done(shell):
    code, out, err = shell("activate_user", "bob@example.org", "nobody@example.org", "eve@example.org")

    assert (code, err) == (1, "No user nobody@example.org.\n")
    assert out.splitlines() == [
        "bob@example.org is active (address not verified)",
        "eve@example.org is active (address not verified)",
    ]


def test_the_shell_is_told_the_rule(shell):
    done = shell("reset_user_password", "eve@example.org", "--stdin", stdin="short\n")

    assert done == (1, "", "The password is too short.\n")


def test_a_closed_standard_input_is_a_short_password(shell):
    assert shell("reset_user_password", "eve@example.org", "--stdin") == (1, "", "The password is too short.\n")


def test_no_terminal_and_no_password_is_exit_2(shell):
    code, out, err = shell("reset_user_password", "eve@example.org")

    assert (code, out) == (2, "")
    assert err == "Give PASSWORD, --stdin, --generate or --send-link.\n"


@pytest.mark.parametrize(
    "arguments", [["activate_user"], ["reset_user_password", "a@b.org", "x", "--stdin"], ["deactivate_user", "--what"]]
)
def test_wrong_arguments_are_exit_2_and_one_line(shell, arguments):
    code, out, err = shell(*arguments)

    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_exit_0(shell, name):
    code, out, err = shell(name, "--help")

    assert (code, err) == (0, "")
    assert "EMAIL" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unmigrated_database_is_one_line(tmp_path, name):
    more = ["--generate"] if name == "reset_user_password" else []
    with processes.database(tmp_path) as url:
        done = processes.command(url, name, "ada@example.org", *more)

    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "migrate" in done.stderr


def test_bytes_that_are_no_text_are_an_unknown_person(tmp_path):
    """As a new process, which has to decode them."""
    with processes.database(tmp_path, migrated=True) as url:
        done = processes.manage("activate_user", b"\xff@example.org", env=processes.environment(url))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("No user")


# --- A shell in all its moods -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """The address of a database with 2,000 events in it."""
    with processes.database(tmp_path_factory.mktemp("busy"), migrated=True) as url:
        with processes.connected(url):
            AuditEvent.objects.bulk_create(AuditEvent(event="login.ok", door="api", data={"n": n}) for n in range(2000))
        yield url


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_has_seen_enough_of_much(busy, options):
    with subprocess.Popen(["head", "-c", "20"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as head:
        done = processes.command(busy, "audit_log", "--limit", "2000", *options, stdout=head.stdin.fileno())

    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_one_line(busy):
    with open("/dev/full", "w") as full:
        for arguments in (["audit_log"], ["list_sessions", "--json"]):
            done = processes.command(busy, *arguments, stdout=full.fileno())

            assert (done.returncode, done.stderr) == (1, "No space is left to write to.\n")


@pytest.mark.parametrize("arguments", [["audit_log"], ["purge_accounts"], ["list_sessions", "--json"]])
def test_closed_streams_are_no_hindrance(busy, arguments):
    for closed in ((0, 1), (0, 1, 2)):
        done = processes.command(busy, *arguments, closed=closed)

        assert (done.returncode, done.stderr) == (0, "")


def test_streams_closed_by_a_shell_are_no_hindrance(busy):
    command = f'"{sys.executable}" "{processes.ROOT}/manage.py" audit_log <&- >&- 2>&-'

    assert subprocess.run(["bash", "-c", command], env=processes.environment(busy)).returncode == 0


def test_a_refusal_with_every_stream_closed_is_exit_1(busy):
    assert processes.command(busy, "activate_user", "nobody@example.org", closed=(0, 1, 2)).returncode == 1


def test_no_standard_input_is_no_password(busy):
    assert processes.command(busy, "create_admin", "ida@example.org").returncode == 0

    for option, wanted in (
        (["--stdin"], (1, "The password is too short.\n")),
        ([], (2, "Give PASSWORD, --stdin, --generate or --send-link.\n")),
    ):
        done = processes.command(busy, "reset_user_password", "ida@example.org", *option, closed=(0,))
        assert (done.returncode, done.stderr) == wanted


@pytest.mark.parametrize("command", ["reset_user_password", "changepassword"])
@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 1)])
def test_leaving_at_the_question(tmp_path, command, key, code):
    with processes.database(tmp_path, migrated=True) as url:
        with processes.connected(url):
            UserFactory.create(email="ada@example.org")
        child, terminal = pty.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            processes.run_forked(url, command, "ada@example.org")
        said = b""
        with contextlib.suppress(OSError):  # the error of a terminal whose last user has left
            while True:
                if said.endswith(b"New password: "):
                    os.write(terminal, key)  # once a second: Python may miss a signal just before it begins to read
                if select.select([terminal], [], [], 1)[0]:
                    said += os.read(terminal, 1024)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == code
    assert b"Traceback" not in said
