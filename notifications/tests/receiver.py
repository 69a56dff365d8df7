"""A real server that webhooks are sent to; they are read as a consumer does, with the package `standardwebhooks`."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook


class Receiver:
    """`answers` are given in turn, the last one to all that follow: a status, with headers and a body."""

    def __init__(self):
        self.requests, self.answers, self.release = [], [(200, {}, b"")], threading.Event()
        self.release.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers.items()), body))
                receiver.release.wait(300)
                answers = receiver.answers
                status, headers, text = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def port(self):
        return self.server.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def ids(self):
        return [headers["webhook-id"] for _path, headers, _body in self.requests]

    def events(self, secret):
        """What came, each proved by its signature."""
        return [Webhook(secret).verify(body, headers) for _path, headers, body in self.requests]

    def bodies(self):
        return [json.loads(body) for _path, _headers, body in self.requests]

    def stop(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
