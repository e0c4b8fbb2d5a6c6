"""A TCP relay in front of a real server: what the network, or a server that hangs, does to a client."""

import contextlib
import socket
import threading
from types import TracebackType

from tests.servers import Behaviour

HOST = "127.0.0.1"
FLIP_EVERY = 997
"""Corrupting: of so many bytes towards the client, one has a bit flipped."""


class Relay:
    """Listens on ``port`` and passes everything on to ``target``; ``behave`` changes how."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._behaviour: Behaviour = "well"
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self._listen()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.behave("refuse")

    def behave(self, behaviour: Behaviour) -> None:
        with self._changed:
            self._behaviour = "well" if behaviour == "close" else behaviour
            self._changed.notify_all()
        if behaviour in ("close", "refuse"):
            self._hang_up()
        if behaviour == "refuse":
            listener, self._listener = self._listener, None
            if listener is not None:
                _shut(listener)
        elif self._listener is None:
            self._listen()

    def _hang_up(self) -> None:
        with self._changed:
            ended, self._open = self._open, set()
        for connection in ended:
            _shut(connection)

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection((HOST, self._target))
                except OSError:
                    _shut(client)
                    continue
                with self._changed:
                    self._open |= {client, server}
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, to_client: bool) -> None:
        with contextlib.suppress(OSError):
            passed = 0
            while data := source.recv(65536):
                with self._changed:
                    self._changed.wait_for(lambda: self._behaviour != "hang")
                    corrupt = to_client and self._behaviour == "corrupt"
                sink.sendall(_flipped(data, passed) if corrupt else data)
                passed += len(data)
        _shut(source)
        _shut(sink)


def _flipped(data: bytes, passed: int) -> bytes:
    changed = bytearray(data)
    for at in range(-passed % FLIP_EVERY, len(changed), FLIP_EVERY):
        changed[at] ^= 0x10
    return bytes(changed)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
