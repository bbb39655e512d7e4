"""A webhook on this machine that keeps what it is told."""

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

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?token=secret", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
