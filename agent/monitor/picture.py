"""Is the camera still looking? Frozen, black and stuck pictures. Pure.

A sensor's noise changes some pixel of every picture it takes, so identical pictures come from a
camera (or a network recorder) that repeats its last one. A picture with a clock written into it
changes for ever and cannot be found out this way.

Every finding has two times: how long it must hold before it is said, and how long its contrary must
hold before it is unsaid; between the two levels nothing changes.
"""

from dataclasses import dataclass

import numpy as np

from agent.contracts import Array, Payload

FROZEN_FRAMES = 3
"""A camera of one picture a minute has not frozen because two of them are alike."""
WELL_AFTER_S = 5.0
"""So long a finding must have been absent before it is withdrawn."""
GRID = 64
"""Pixels looked at along each side: enough for a share or a mean, and the same cost for any size."""
WHITE, BLACK = 250, 5
"""Values at the ends of the 8-bit scale, where JPEG's rounding puts what was clipped."""
TAIL_BYTES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureOptions:
    """Section ``monitor.picture``: what a live source's pictures may not be. 0 turns a check off."""

    frozen_after_s: float = 30.0
    """The same picture for so long is a frozen camera."""
    black_below: float = 8.0
    """Mean brightness (0 to 255) below which a picture is black."""
    clipped_above: float = 0.9
    """Share of pixels at either end of the scale above which the exposure is stuck."""
    bad_after_s: float = 20.0
    """How long pictures must be black or clipped before it is said."""

    def problems(self) -> list[str]:
        """Values out of range, by name."""
        limits = {
            "frozen_after_s": (self.frozen_after_s, 86_400),
            "black_below": (self.black_below, 128),
            "clipped_above": (self.clipped_above, 1),
            "bad_after_s": (self.bad_after_s, 86_400),
        }
        return [
            f"{name}: must be from 0 to {high:g}, got {value:g}"
            for name, (value, high) in limits.items()
            if not 0 <= value <= high
        ]


class PictureWatch:
    """Told of every frame of a live source (``payload``), and of the picture the model got of some
    (``view``); ``problems`` are what is wrong now, in words that stay the same while it lasts."""

    def __init__(self, options: PictureOptions) -> None:
        self._options = options
        self._last: Payload | None = None
        self._same_since_ns = 0
        self._same = 0
        self._at_ns = 0
        # Sameness has a length of its own; a spell of it is said as soon as it is that long.
        self._frozen = _Finding(0.0)
        self._black = _Finding(options.bad_after_s)
        self._clipped = _Finding(options.bad_after_s)

    @property
    def problems(self) -> tuple[str, ...]:
        findings = (self._frozen, self._black, self._clipped)
        return tuple(finding.said for finding in findings if finding.said)

    def payload(self, payload: Payload, captured_ns: int) -> None:
        """The next frame as its source delivered it, encoded or as pixels. Vectors are not looked at:
        a sensor at rest repeats itself."""
        self._at_ns = captured_ns
        if not self._options.frozen_after_s or (isinstance(payload, np.ndarray) and payload.ndim != 3):
            return
        last, self._last = self._last, payload
        if last is None or not same_picture(last, payload):
            self._same, self._same_since_ns = 1, captured_ns
            self._frozen.update("", at_ns=captured_ns)
            return
        self._same += 1
        since_s = (captured_ns - self._same_since_ns) / 1e9
        if self._same >= FROZEN_FRAMES and since_s >= self._options.frozen_after_s:
            text = f"frozen: the same picture for over {self._options.frozen_after_s:g} s"
            self._frozen.update(text, at_ns=captured_ns)

    def view(self, image: Array) -> None:
        """The 8-bit RGB picture (H×W×3) that came of the frame last told of."""
        options = self._options
        grid = image[:: -(-image.shape[0] // GRID), :: -(-image.shape[1] // GRID)]
        mean = float(grid.mean())
        white = float((grid.min(axis=2) >= WHITE).mean())
        clipped = white + float((grid.max(axis=2) <= BLACK).mean())
        dark = mean < options.black_below
        if dark or mean >= 1.5 * options.black_below:
            text = f"black: mean brightness {mean:.0f} of 255" if dark else ""
            self._black.update(text, at_ns=self._at_ns)
        # A black picture is clipped as well, but has its own word.
        stuck = bool(options.clipped_above) and clipped >= options.clipped_above and not dark
        if stuck or clipped < 0.9 * options.clipped_above or dark:
            share = f"{100 * clipped:.0f} % of the pixels at the ends of the scale, {100 * white:.0f} % white"
            text = f"stuck exposure: {share}" if stuck else ""
            self._clipped.update(text, at_ns=self._at_ns)


def same_picture(one: Payload, other: Payload) -> bool:
    """Whether two payloads show the same picture, pixel for pixel.

    Of JPEG files only what follows the last start of scan counts: in front of it stands what a camera
    writes about a picture, such as the time. Nearly all pairs differ in their last bytes already.
    """
    if isinstance(one, bytes) and isinstance(other, bytes):
        if one[-TAIL_BYTES:] != other[-TAIL_BYTES:]:
            return False
        return one == other or (_is_jpeg(one) and _is_jpeg(other) and _scan(one) == _scan(other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape:
            return False
        steps = tuple(slice(None, None, -(-length // GRID)) for length in one.shape[:2])
        return np.array_equal(one[steps], other[steps]) and np.array_equal(one, other)
    return False


def _is_jpeg(encoded: bytes) -> bool:
    return encoded.startswith(b"\xff\xd8\xff")


def _scan(encoded: bytes) -> bytes:
    """A JPEG's last scan. Its marker cannot occur among a scan's data (ITU T.81, B.1.1.5)."""
    return encoded[max(encoded.rfind(b"\xff\xda"), 0) :]


class _Finding:
    """Something that must hold for a while before it is said, and be absent before it is unsaid."""

    def __init__(self, bad_after_s: float) -> None:
        self._bad_after_ns = int(bad_after_s * 1e9)
        self._turned_ns: int | None = None
        self.said = ""

    def update(self, text: str, *, at_ns: int) -> None:
        """``text`` says what is found now; empty: nothing is."""
        if bool(text) == bool(self.said):
            self._turned_ns = None
            return
        if self._turned_ns is None:
            self._turned_ns = at_ns
        wait_ns = self._bad_after_ns if text else int(WELL_AFTER_S * 1e9)
        if at_ns - self._turned_ns >= wait_ns:
            self._turned_ns, self.said = None, text
