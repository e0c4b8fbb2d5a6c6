"""A network camera that serves JPEG files over HTTP, one behind the other (``multipart/x-mixed-replace``)."""

import contextlib
import itertools
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from types import TracebackType

from tests.servers import Behaviour

HOST = "127.0.0.1"
INTERVAL_S = 0.02


class MjpegServer:
    """Serves ``pictures`` in a circle at ``http://127.0.0.1:port/door``.

    While it corrupts, every third picture lacks its second half.
    """

    def __init__(
        self, pictures: list[bytes], *, credentials: str | None = None, tls: SSLContext | None = None
    ) -> None:
        self.pictures = pictures
        self.expected = credentials and f"Basic {b64encode(credentials.encode()).decode()}"
        self.changed = threading.Condition()
        self.behaviour: Behaviour = "well"
        self.generation = 0
        self._tls = tls
        self._http: ThreadingHTTPServer | None = None
        self.port = 0
        self._listen()

    def __enter__(self) -> "MjpegServer":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.behave("refuse")

    def behave(self, behaviour: Behaviour) -> None:
        with self.changed:
            self.behaviour = "well" if behaviour == "close" else behaviour
            if behaviour in ("close", "refuse"):
                self.generation += 1
            self.changed.notify_all()
        if behaviour == "refuse":
            http, self._http = self._http, None
            if http is not None:
                http.shutdown()
                http.server_close()
        elif self._http is None:
            self._listen()

    def _listen(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.serve(self)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._http = ThreadingHTTPServer((HOST, self.port), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        if self._tls is not None:
            self._http.socket = self._tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        if self.expected and request.headers.get("Authorization") != self.expected:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="door"')
            request.end_headers()
            return
        generation = self.generation
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        request.end_headers()
        with contextlib.suppress(OSError):
            for number, picture in enumerate(itertools.cycle(self.pictures)):
                with self.changed:
                    self.changed.wait_for(lambda: self.behaviour != "hang" or self.generation != generation)
                    self.changed.wait_for(lambda: self.generation != generation, INTERVAL_S)
                    damaged = self.behaviour == "corrupt" and number % 3 == 0
                if self.generation != generation:
                    return
                sent = picture[: len(picture) // 2] if damaged else picture
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(sent)}\r\n\r\n"
                request.wfile.write(head.encode() + sent + b"\r\n")
