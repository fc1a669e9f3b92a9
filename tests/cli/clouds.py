"""An endpoint of the API that answers as a test tells it, over HTTP."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

Answer = Callable[[str, dict[str, str]], tuple[int, dict[str, Any]]]
"""From an action and its parameters to the HTTP status and the answer."""


class Cloud:
    """An HTTP server that answers as it is told."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _action, _parameters: (200, {"Success": True})
        self.asked: list[tuple[str, dict[str, str]]] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                action, parameters = self.headers["x-acs-action"], dict(parse_qsl(body))
                cloud.asked.append((action, parameters))
                status, answer = cloud.answer(action, parameters)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@contextlib.contextmanager
def running_cloud() -> Iterator[Cloud]:
    """One that listens."""
    cloud = Cloud()
    thread = threading.Thread(target=cloud.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield cloud
    finally:
        cloud.server.shutdown()
        thread.join()
        cloud.server.server_close()
