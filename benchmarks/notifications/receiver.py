"""An endpoint of webhooks: `python -m benchmarks.notifications.receiver PORT FILE SECONDS`.

It answers 200 after that long. What it has taken is on disk before the answer, a line each: the `webhook-id` and the
subject's number; it may be killed at any moment.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main(port: str, file: str, seconds: str) -> None:
    taken = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            os.write(taken, f"{self.headers['webhook-id']} {body['data']['address']}\n".encode())
            os.fsync(taken)
            time.sleep(float(seconds))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    print("Receiving", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
