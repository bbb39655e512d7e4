"""A webhook on this machine that keeps the messages it receives."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading


@contextlib.contextmanager
def listening(status: int = 200):
    """Yields the URL and the list of json objects that were posted; answers with `status`."""
    told: list[dict] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments):
            """Keeps the terminal quiet."""

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}/hook?token=secret", told


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]):
    """Yields the port on which the handler answers in a thread of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
