"""A TCP proxy in front of the broker that behaves as bad networks do."""

import contextlib
import socket
import struct
import threading
import time
from typing import Literal

Mode = Literal["through", "silent", "reset", "slow", "half-open"]
"""``silent``: takes connections and says nothing. ``reset``: answers every connection with RST, the open
ones as well. ``slow``: a few bytes at a time. ``half-open``: connections stay, nothing passes any more."""

SLICE = 16
SLICE_S = 0.002


class Proxy:
    """Listens on its own port; ``mode`` may change at any moment and holds for open connections too."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.mode: Mode = "through"
        self.accepted = 0
        self._target = (host, port)
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def become(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "reset":
            for wire in self._open:
                _reset(wire)
            self._open.clear()

    def close(self) -> None:
        self._listener.close()
        for wire in self._open:
            with contextlib.suppress(OSError):
                wire.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self.mode == "reset":
                _reset(near)
                continue
            self._open.append(near)
            if self.mode == "silent":
                continue
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                _reset(near)
                continue
            self._open.append(far)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.mode in ("half-open", "silent"):
                    time.sleep(0.01)  # what came in is on its way for ever
                if self.mode == "slow":
                    for at in range(0, len(data), SLICE):
                        target.sendall(data[at : at + SLICE])
                        time.sleep(SLICE_S)
                else:
                    target.sendall(data)
        for wire in (source, target):
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)


def _reset(wire: socket.socket) -> None:
    """End a connection with RST instead of FIN."""
    with contextlib.suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        wire.close()
