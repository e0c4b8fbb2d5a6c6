"""A stream's address: what may stand in it, how it is opened, and how it is shown. Pure.

Cameras take their password in front of the host, in the query, or as ``name=value`` inside the path.
Whatever is shown to anybody has passed ``shown``.
"""

import ipaddress
import re
from urllib.parse import quote, urlsplit

SCHEMES = ("rtsp", "rtsps", "http", "https")
ENCRYPTED = ("rtsps", "https")
_SECRET = re.compile(
    r"([^=&;/]*(?:pass|pwd|psw|token|key|auth|user|usr|login)[^=&;/]*)=[^&;/]*", re.IGNORECASE
)
_VALUE = re.compile(r"=[^&;]*")
LONGEST = 2048
"""Of a URL: showing one takes time with the square of its length."""


def shown(url: str) -> str:
    """``url`` without user and password, nor what its path and query give as values.

    For any text, also a broken URL: a password may hold unescaped any character that ends one, so
    everything up to the last at-sign goes.
    """
    scheme, slashes, rest = url.partition("//") if "//" in url else ("", "", url)
    address, mark, query = rest.rpartition("@")[2].partition("?")
    return scheme + slashes + _SECRET.sub(r"\1=…", address) + mark + _VALUE.sub("=…", query)


def with_credentials(url: str, username: str, password: str) -> str:
    """``url`` with these, escaped, in front of its host."""
    scheme, _, rest = url.partition("//")
    return f"{scheme}//{quote(username, safe='')}:{quote(password, safe='')}@{rest}"


def has_credentials(url: str) -> bool:
    return "@" in urlsplit(url).netloc


def encrypted(url: str) -> bool:
    return urlsplit(url).scheme in ENCRYPTED


def names_an_address(url: str) -> bool:
    """Whether the host is an IP address and not a name."""
    try:
        ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


def url_problem(url: str) -> str | None:
    """What keeps ``url`` from being opened; None: nothing that can be seen in it."""
    if len(url) > LONGEST:
        return f"longer than {LONGEST} characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"cannot be read as a URL: {shown(url)!r}"
    if parts.scheme not in SCHEMES:
        return f"must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}, got {shown(url)!r}"
    if not parts.hostname or port == 0:
        return f"names no host, or port 0: {shown(url)!r}"
    if any(char.isspace() or not char.isprintable() for char in url):
        return f"holds a space or a control character: {shown(url)!r}"
    return None
