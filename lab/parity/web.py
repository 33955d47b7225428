"""A web server for the length of a run, with images to fetch: what Glance's web-download and its tasks import from."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RAW = bytes(range(256)) * 40
QCOW2 = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 0x30000, 0x10000, 1, 0, 0).ljust(0x40000, b"\0")
"""An empty disk of 1 MiB: the header and no allocated cluster, enough for whoever looks at the format."""


class _Images(BaseHTTPRequestHandler):
    """``/image`` and ``/image.qcow2``."""

    def do_GET(self) -> None:
        """The bits of an image."""
        found = {"/image": RAW, "/image.qcow2": QCOW2}.get(self.path)
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Not on the console."""


@contextmanager
def images() -> Iterator[str]:
    """The server's URL, for as long as it is there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
