"""Serve the product with uvicorn: what `make run` and the container start."""

import os
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandParser
from django.db import connections

from lib.commands import Command as BaseCommand
from users import services


class Command(BaseCommand):
    help = "Serve on HOST and PORT with WEB_CONCURRENCY processes."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="apply migrations first")
        parser.add_argument(
            "--first-admin", action="store_true", help="on a database without staff, create one and print the password"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["migrate"]:
            call_command("migrate", verbosity=0, interactive=False)
        address = f"http://{settings.HOST}:{settings.PORT}"
        if options["first_admin"] and (password := services.create_first_admin()):
            self.stdout.write(f"First sign-in at {address}/admin/ (shown only now):")
            self.stdout.write(f"  {services.FIRST_ADMIN}\n  {password}")
        connections.close_all()
        self.stdout.write(f"Switchboard answers at {address} (admin: {address}/admin/, API: {address}/api/docs)")
        self.stdout.flush()
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        uvicorn.run(
            "project.asgi:application",
            host=settings.HOST,
            port=settings.PORT,
            workers=settings.WEB_CONCURRENCY,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
