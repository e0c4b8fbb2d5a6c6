"""How far the kernel's clock can be trusted, and which boot this is."""

import ctypes
from functools import lru_cache
from pathlib import Path

TIME_ERROR = 5
"""The kernel's clock state 'not synchronised' (adjtimex(2))."""
_TIMEX_BYTES = 512
"""More than sizeof(struct timex) on any 64-bit Linux (208)."""


def clock_synced() -> bool:
    """Whether the kernel says that something (NTP, PTP, GPS) disciplines its clock."""
    try:
        # A zeroed struct timex has modes = 0: only read, which needs no privilege.
        return bool(_libc().adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) not in (-1, TIME_ERROR))
    except (OSError, AttributeError):
        return False


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    # The C library this process already runs on; looking it up by name would start a subprocess.
    return ctypes.CDLL(None, use_errno=True)


def boot_id(root: Path = Path("/")) -> str:
    """The kernel's id of this boot; empty where /proc is not to be read."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
