"""systemd's notification protocol: one datagram of ``KEY=value`` lines to ``$NOTIFY_SOCKET``."""

import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Notifier:
    """``address`` is the value of ``$NOTIFY_SOCKET``, or None outside systemd: then silent."""

    address: str | None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def progress(self) -> None:
        """Feed the watchdog; call it only where work has really gone on."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The config is read again; ``ready`` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self.address:
            return
        # A leading @ is systemd's spelling of an abstract socket.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.sendto(text.encode("utf-8", "replace"), address)
        except OSError:
            # The manager restarts its socket on re-exec; the next message reaches it.
            return
