"""A web server of one page, in a thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serve_page(path: str, page: Callable[[], str], status: int = 200) -> Iterator[int]:
    """Its port. page: the text for each request of the path; every other path is answered with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = page().encode()
            self.send_response(status if self.path == path else 404)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
