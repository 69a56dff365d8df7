"""The command line: made of the server's OpenAPI document, so that what the server learns needs no new client."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from switchboard_client import calls, document
from switchboard_client.errors import Misused, Refused, plain
from switchboard_client.operations import Field, Operation, find, written
from switchboard_client.output import lines, table
from switchboard_client.server import Answer, Server


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misused(message)


def _common() -> _Parser:
    parser = _Parser(usage="switchboard THINGS VERB [KEY ...] [options]", add_help=False, allow_abbrev=False)
    add = parser.add_argument_group("for all commands").add_argument
    add("--url", help="the server; SWITCHBOARD_URL unless given")
    add("--key-file", type=Path, metavar="FILE", help="holds the API key; SWITCHBOARD_API_KEY unless given")
    add("--json", action="store_true", help="print the answer as it came")
    add("--all", action="store_true", help="of a list, all pages")
    add("--columns", metavar="A,B", help="of a list, these columns")
    add("-o", "--output", type=Path, metavar="FILE", help="write there; a new file is for its owner alone")
    add("--json-body", metavar="FILE", help="the body as JSON, - for standard input; options replace its members")
    add("--if-match", metavar="ETAG", help="change it only while it is still so")
    add("--idempotency-key", metavar="KEY", help="a repeat with the same does nothing new")
    add("--timeout", type=float, default=30, metavar="SECONDS", help="for each answer, 30 unless given")
    add("--insecure", action="store_true", help="allow http:// to other machines: all between can read the key")
    add("--refresh", action="store_true", help="ask the server now what it can do, not every ten minutes")
    add("-h", "--help", action="store_true", help="also of things (flags --help) and verbs (flags switch --help)")
    return parser


COMMON = frozenset(_common()._option_string_actions)


def main() -> int:
    try:
        printed = _run(sys.argv[1:])
        with open(1, "wb", closefd=False) as out:
            out.write(printed)
        return 0
    except (Misused, Refused) as error:
        message, code = str(error), 2 if isinstance(error, Misused) else 1
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        message, code = f"The answer is not what the server describes: {error!r}", 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        message, code = str(error), 1
    print(f"switchboard: {plain(message)}", file=sys.stderr)
    return code


def _run(argv: list[str]) -> bytes:
    """What is to be printed. Raises: Misused; Refused; OSError where that cannot be written to a file."""
    given, rest = _common().parse_known_args(argv)
    url = given.url or os.environ.get("SWITCHBOARD_URL", "")
    if rest and rest[0].startswith("-"):
        raise Misused(f"{rest[0]}: options of one command stand after its verb")
    if not (url or rest):
        return f"{_common().format_help()}\nWith SWITCHBOARD_URL set, this tells what the server can do.\n".encode()
    if not url:
        raise Misused("No server: set SWITCHBOARD_URL, or give --url.")
    if not 0 < given.timeout <= 3600:
        raise Misused("--timeout: give seconds, at most 3600")
    key = _key(given.key_file)
    server = Server(url, key, insecure=given.insecure, timeout=given.timeout)
    known, is_new = document.load(server, refresh=given.refresh)
    try:
        call = _understand(known, argv, rest, given.help)
    except Misused:
        if is_new:
            raise
        call = _understand(document.load(server, refresh=True)[0], argv, rest, given.help)
    if isinstance(call, str):
        return f"{call.rstrip()}\n".encode()
    if not key:
        raise Misused("No API key: set SWITCHBOARD_API_KEY, or name a file by --key-file.")
    answers = calls.send(server, calls.with_id(server, call), is_all=given.all)
    printed = _printed(answers, given)
    if given.output:
        with open(given.output, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(printed)
    return b"" if given.output else printed


def _key(file: Path | None) -> str:
    """Raises: Misused, never with the key in it."""
    try:
        key = (file.read_text() if file else os.environ.get("SWITCHBOARD_API_KEY", "")).strip()
    except (OSError, ValueError):
        key = ""
    if not re.fullmatch(r"[!-~]*", key) or (file and not key):
        raise Misused(f"There is no API key in {file or 'SWITCHBOARD_API_KEY'}.")
    return key


def _understand(known: list[Operation], argv: list[str], rest: list[str], wants_help: bool) -> calls.Call | str:
    """What the arguments ask for; a text where that is help. Raises: Misused."""
    verbs = {
        things: ", ".join(sorted({each.words[0] for each in known if each.things == things}))
        for things in sorted({each.things for each in known})
    }
    if not rest:
        return f"{_common().format_help()}\n" + "\n".join(f"{things}: {verbs[things]}" for things in verbs)
    things, verb = rest[0], rest[1] if len(rest) > 1 else ""
    if things not in verbs:
        raise Misused(f"there is no {things} among {', '.join(verbs)}")
    own = sorted((each for each in known if each.things == things), key=lambda each: (each.words, each.method != "GET"))
    if wants_help and not verb:
        shown_lines = zip(written(own), own, strict=True)
        return "\n".join(plain(f"{line:38} {each.about.get('summary', '')}") for line, each in shown_lines)
    named = [each for each in own if each.words[0] == verb]
    if not named:
        raise Misused(f"{things} has no verb {verb or 'here'}: {verbs[things]}")
    parser = _parser(named)
    if wants_help:
        return parser.format_help()
    asked = vars(parser.parse_intermixed_args(argv))
    operation, taken = find(named, asked["words"][1:])
    return calls.make(operation, taken, asked, _options(operation))


def _options(operation: Operation) -> dict[str, Field]:
    """By what they are called here: `--is-active`; `--body-url` where all commands have a `--url`."""
    options: dict[str, Field] = {}
    for field in operation.fields:
        if field.kind:
            name = re.sub(r"[^a-z0-9]+", "-", field.name.lower())
            options[f"--{field.place}-{name}" if f"--{name}" in COMMON | options.keys() else f"--{name}"] = field
    return options


def _told(about: Mapping[str, Any]) -> str:
    """The summary may be how the description begins."""
    summary, more = about.get("summary", ""), about.get("description", "")
    return more if summary and more.startswith(summary) else f"{summary}. {more}"


def _parser(named: list[Operation]) -> _Parser:
    """Of all operations with one verb: which of them is meant, their words say."""
    texts = [_told(each.about) for each in named]
    nested = dict.fromkeys(field.name for each in named for field in each.fields if not field.kind)
    texts += [f"By --json-body alone: {', '.join(nested)}."] * bool(nested)
    parser = _Parser(
        usage="\n       ".join(f"switchboard {line} [options]" for line in written(named)).replace("%", "%%"),
        description=plain("\n\n".join(texts), keep="\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common()],
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    options = {option: field for each in named for option, field in _options(each).items()}
    for option, field in options.items():
        choices = field.schema.get("items", field.schema).get("enum", ())
        notes = ["needed"] * field.is_required + ["repeat for more"] * (field.kind == "array")
        notes += [f"one of {', '.join(map(str, choices))}"] if choices else []
        about = plain("; ".join([*notes, str(field.schema.get("description", ""))])).strip("; ").replace("%", "%%")
        if field.kind == "boolean":
            short = option.replace("--is-", "--", 1)
            names = [short, option] if short not in COMMON | options.keys() else [option]
            parser.add_argument(*names, dest=option, action=argparse.BooleanOptionalAction, help=about)
        else:
            action, kind = "append" if field.kind == "array" else "store", field.kind.replace("string", "text")
            parser.add_argument(option, dest=option, action=action, metavar=kind.upper(), help=about)
    return parser


def _printed(answers: list[Answer], given: argparse.Namespace) -> bytes:
    last = answers[-1]
    if not last.body:
        return b"" if given.json else b"done.\n"
    if last.is_file or (given.json and not given.all):
        return last.body if last.is_file else last.body + b"\n"
    shown = rows = last.json()
    if isinstance(shown, dict) and "items" in shown:
        rows = [row for answer in answers for row in answer.json()["items"]]
        shown = {**shown, "items": rows}
        if not given.json and (shown["next"] or shown.get("is_cut")):
            print("There is more: --all, or a narrower search.", file=sys.stderr)
    if given.json:
        return f"{json.dumps(shown, ensure_ascii=False)}\n".encode(errors="backslashreplace")
    room = shutil.get_terminal_size().columns if os.isatty(1) and not given.output else math.inf
    printed = table(rows, given.columns, room) if isinstance(rows, list) else lines(shown)
    return "".join(f"{line}\n" for line in printed).encode(errors="backslashreplace")
