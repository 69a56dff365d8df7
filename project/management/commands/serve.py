"""Serve the product with uvicorn: what `make run` and the container start."""

import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connections
from uvicorn.supervisors import Multiprocess

from lib import metrics
from lib.commands import Command as BaseCommand
from lib.protocol import BoundedProtocol
from users.services import staff


def _refuse_taken_port() -> None:
    """Say so before anything is migrated or printed."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.HOST, settings.PORT, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CommandError(f"Cannot listen on {settings.HOST}:{settings.PORT}: {error.strerror}.") from error


def _end(*_: Any) -> None:
    """uvicorn stops at SIGTERM and then raises it again: asked to stop, and stopped, is a success.

    The interpreter would wait for every thread, and one may wait for a database that does not answer.
    """
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _options() -> dict[str, Any]:
    return {
        "host": settings.HOST,
        "port": settings.PORT,
        "workers": settings.WEB_CONCURRENCY,
        "http": BoundedProtocol,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": settings.GRACE_SECONDS,
        "timeout_keep_alive": settings.KEEP_ALIVE_SECONDS,
    }


class _Supervisor(Multiprocess):
    """uvicorn's holds the port open until its last process has ended: connections would be taken and not answered."""

    def terminate_all(self) -> None:
        for opened in self.sockets:
            opened.close()
        super().terminate_all()


class Command(BaseCommand):
    help = "Serve on HOST and PORT with WEB_CONCURRENCY processes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="apply migrations first")
        parser.add_argument(
            "--first-admin", action="store_true", help="on a database without staff, create one and print the password"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_taken_port()
        if options["migrate"]:
            call_command("migrate", verbosity=0, interactive=False)
        address = f"http://{settings.HOST}:{settings.PORT}"
        text = f"Switchboard answers at {address} (admin: {address}/admin/, API: {address}/api/docs)"
        if options["first_admin"] and (password := staff.create_first_admin()):
            lines = (
                f"First sign-in at {address}/admin/ (shown only now):",
                f"  {staff.FIRST_ADMIN}",
                f"  {password}",
                "Lost it? manage.py create_admin you@example.org",
            )
            width = max(map(len, lines))
            edge = f"+{'-' * (width + 2)}+"
            text += "\n".join(("", edge, *(f"| {line:{width}} |" for line in lines), edge))
        connections.close_all()
        threading.Thread(target=self._print_when_it_answers, args=(text,), daemon=True).start()
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        signal.signal(signal.SIGTERM, _end)
        application, options = "project.asgi:application", _options()
        if settings.WEB_CONCURRENCY > 1:
            config = uvicorn.Config(application, **options)
            shared = metrics.share() if settings.METRICS_TOKEN else ""
            try:
                _Supervisor(config, sockets=[config.bind_socket()]).run()
            finally:
                if shared:
                    shutil.rmtree(shared, ignore_errors=True)
        else:
            uvicorn.run(application, **options)

    def _print_when_it_answers(self, text: str) -> None:
        """uvicorn has no word for “listening” that all its ways of serving share."""
        while True:
            try:
                socket.create_connection((settings.HOST, settings.PORT), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        self.stdout.write(text)
        self.stdout.flush()
