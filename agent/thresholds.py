"""The drift detector of a session, its thresholds resampled once on this device and then cached."""

import logging
from pathlib import Path

from agent.contracts import Detector
from agent.monitor.drift.null import Null, alpha_floor, null_key
from agent.monitor.reference import Reference

RESAMPLES = 20_000
"""Windows resampled for the thresholds; a fitted tail reaches beyond them."""
ALPHA_FLOOR = alpha_floor(RESAMPLES)
SEED = 1

_log = logging.getLogger(__name__)


def prepare_detector(reference: Reference, *, samples: int, folder: Path) -> Detector:
    """The panel for windows of ``samples``; takes seconds the first time (no lock is held)."""
    # Imported here, off the main thread: the first prediction need not wait for it.
    from agent.monitor.drift.panel import Panel, calibrate

    key = null_key(reference, samples=samples, resamples=RESAMPLES, seed=SEED)
    cache = folder / f"thresholds-{key[:16]}.bin"
    try:
        null = Null.decode(cache.read_bytes())
    except (OSError, ValueError):
        null = calibrate(reference, samples=samples, resamples=RESAMPLES, seed=SEED)
        _save(cache, null.encode())
    return Panel(reference=reference, null=null)


def _save(path: Path, content: bytes) -> None:
    """A device without room for its cache computes it again at its next start."""
    fresh = path.with_suffix(".new")
    try:
        for earlier in path.parent.glob("thresholds-*"):
            earlier.unlink(missing_ok=True)  # of another bundle or window: half a megabyte each
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        _log.warning("%s not cached: %s", path.name, error.strerror)
