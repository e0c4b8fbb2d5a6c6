"""Why a broker ended the TLS connection: the alert with which it refuses this device's certificate.

With TLS 1.3 a client believes itself connected before the broker has looked at its certificate. The refusal
comes right behind, and whoever writes first may only learn that the connection was reset. So it is looked
for before the first byte is written; a broker that agrees answers just as quickly, with session tickets.
"""

import re
import select
import ssl
from typing import Any

WAIT_S = 1.0
"""How long to wait for either; a broker that sends no tickets costs this once for each connection."""

_ALERT = re.compile(r"_ALERT_([A-Z0-9_]+)$")


def alert_in(error: BaseException) -> str | None:
    """``certificate expired``, ``unknown ca``, … where ``error`` is the other side's alert."""
    found = _ALERT.search(error.reason or "") if isinstance(error, ssl.SSLError) else None
    return found[1].lower().replace("_", " ") if found else None


def read_alert(sock: Any, *, wait_s: float = WAIT_S) -> str | None:
    """The alert that a fresh non-blocking TLS socket holds, if any; nothing else is taken from it.

    Only for protocols in which the client speaks first, as in MQTT.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return None
    if not select.select([sock], [], [], wait_s)[0]:
        return None
    try:
        sock.recv(1)
    except ssl.SSLError as error:  # no data beyond the tickets is one of them
        return alert_in(error)
    except OSError:
        return None
    return None
