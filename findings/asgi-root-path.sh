#!/bin/sh
# `--root-path /shop` asks for opposite proxies: uvicorn puts the prefix before what it got, hypercorn and granian do not.
#
# Versions: uvicorn 0.54.0, hypercorn 0.18.0, granian 2.8.9 (--url-path-prefix), Django 5.2.19, Starlette 1.10.0.
# One guesses: the option says where the app is mounted, ASGI says what comes of it, and so another server behind the
# same proxy makes the same links.
# Seen: uvicorn wants a proxy that strips the prefix, and answers 404 behind one that leaves it. hypercorn and granian
# answer behind both, yet behind one that strips it the app takes the address without prefix for its own: redirects and
# links in mails lead past it, while reverse() in the same page of Django still has it.
# Output (the proxy sends; what build_absolute_uri() of Django and request.url of Starlette say):
#   uvicorn    /here/       Django /shop/here/       Starlette /shop/here/
#   uvicorn    /shop/here/  Django 404               Starlette 404
#   hypercorn  /here/       Django /here/            Starlette /here/
#   hypercorn  /shop/here/  Django /shop/here/       Starlette /shop/here/
#   granian    /here/       Django /here/            Starlette /here/
#   granian    /shop/here/  Django /shop/here/       Starlette /shop/here/
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
    uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 django==5.2.19 starlette==1.10.0
cat > "$dir/apps.py" <<'PYTHON'
import django
from django.conf import settings

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="key")
django.setup()

from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

urlpatterns = [path("here/", lambda request: HttpResponse(request.build_absolute_uri()))]
of_django = get_asgi_application()


async def here(request):
    return PlainTextResponse(str(request.url))


of_starlette = Starlette(routes=[Route("/here/", here)])
PYTHON
cat > "$dir/check.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

BIN = Path(sys.executable).parent
SERVERS = {
    "uvicorn": ["--host", "127.0.0.1", "--root-path", "/shop", "--port"],
    "hypercorn": ["--root-path", "/shop", "--bind"],
    "granian": ["--interface", "asgi", "--url-path-prefix", "/shop", "--port"],
}


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def ask(port, path):
    """The path of the address that the app takes for its own, or the status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return urlsplit(answer.read().decode()).path
    except urllib.error.HTTPError as refused:
        return str(refused.code)


ports, processes = {}, []
try:
    for server, options in SERVERS.items():
        for app in ("of_django", "of_starlette"):
            port = ports[server, app] = free_port()
            where = f"127.0.0.1:{port}" if server == "hypercorn" else str(port)
            command = [BIN / server, *options, where, f"apps:{app}"]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for port in ports.values():
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
    seen = [
        (server, path, ask(ports[server, "of_django"], path), ask(ports[server, "of_starlette"], path))
        for server in SERVERS
        for path in ("/here/", "/shop/here/")
    ]
finally:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(10)
for server, path, django, starlette in seen:
    print(f"{server:10} {path:12} Django {django:17} Starlette {starlette}")
others = [("/here/", "/here/"), ("/shop/here/", "/shop/here/")]
wanted = [("/shop/here/", "/shop/here/"), ("404", "404"), *others, *others]
sys.exit([(django, starlette) for _, _, django, starlette in seen] != wanted)
PYTHON
cd "$dir"
"$dir/venv/bin/python" check.py
