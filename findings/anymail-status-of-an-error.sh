#!/bin/sh
# django-anymail 15.2: an exception with status_code 200 can be a refusal, and one can be a mail that was taken.
#
# Whoever hands mail to anymail wants to know, when it raises, whether the provider has the message. A good guess is the
# HTTP status of the exception: 4xx or 5xx is a refusal, 2xx means that the provider took it and only its answer was not
# understood, so that sending again makes a second copy. With Postal that guess loses mail: it answers 200 to everything
# (a wrong key too, `{"status": "error", "data": {"code": "InvalidServerAPIKey"}}`), and anymail raises
# AnymailRequestsAPIError with status_code 200. With MailerSend the same class and a 202 come of an accepted mail
# whose answer is no JSON. Nothing but the body tells them apart.
#
# Seen (python 3.11, django 5.2, django-anymail 15.2):
#   postal, wrong key: AnymailRequestsAPIError status_code=200 refused
#   mailersend, accepted: AnymailRequestsAPIError status_code=202 taken
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check "django==5.2" "django-anymail==15.2"
cat > "$dir/probe.py" <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from django.conf import settings

ANSWERS = {
    "/postal/": (200, json.dumps({"status": "error", "data": {"code": "InvalidServerAPIKey"}})),
    "/mailersend/": (202, "Accepted"),
}


class Provider(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = next(answer for path, answer in ANSWERS.items() if self.path.startswith(path))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
settings.configure(
    ANYMAIL={
        "POSTAL_API_KEY": "key",
        "POSTAL_API_URL": f"{url}/postal/",
        "MAILERSEND_API_TOKEN": "token",
        "MAILERSEND_API_URL": f"{url}/mailersend/",
    }
)
import django

django.setup()
from anymail.exceptions import AnymailRequestsAPIError
from django.core.mail import EmailMessage, get_connection

seen = []
for name, what, truth in (("postal", "wrong key", "refused"), ("mailersend", "accepted", "taken")):
    mail = EmailMessage("Subject", "Text", "us@example.org", ["ada@example.org"])
    mail.connection = get_connection(f"anymail.backends.{name}.EmailBackend")
    try:
        mail.send()
    except AnymailRequestsAPIError as error:
        seen.append((type(error).__name__, error.status_code, truth))
        print(f"{name}, {what}: {type(error).__name__} status_code={error.status_code} {truth}")
assert seen == [("AnymailRequestsAPIError", 200, "refused"), ("AnymailRequestsAPIError", 202, "taken")], seen
PY
"$dir/venv/bin/python" "$dir/probe.py"
