"""The canary: golden tensors that the live runner must still answer as before. Pure.

What "before" means is learned on the device itself (``blessing``), for each way of computing apart
(``Key``). From then on whole numbers must repeat bit for bit, real ones to ``FLOAT_TOLERANCE``: no
drift, no light and no camera reaches a golden tensor, so what differs is the machine.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, RunnerInfo, TensorSpec
from agent.plain_text import plain_text

FLOAT_TOLERANCE = 1e-5
"""Of the largest number of a blessed output tensor: frameworks differ in the last bits."""
LONGEST_INTERVAL_S = 86_400.0
MOST_INPUTS = 64
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryOptions:
    """Section ``monitor.canary``."""

    interval_s: float = 60.0
    """One golden tensor is run again this often; 0 turns the canary off."""
    inputs: int = 8
    """Golden tensors kept in memory and run in turn."""

    def problems(self) -> list[str]:
        found = []
        if not (self.interval_s == 0 or 1 <= self.interval_s <= LONGEST_INTERVAL_S):
            found.append(
                f"interval_s: must be 0 (off) or 1 to {LONGEST_INTERVAL_S:g}, got {self.interval_s:g}"
            )
        if not 1 <= self.inputs <= MOST_INPUTS:
            found.append(f"inputs: must be 1 to {MOST_INPUTS}, got {self.inputs}")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One way of computing: answers are only held against answers of the same. ``model_sha256`` is
    that of the model that runs, of the bundle's CPU model or its Edge TPU twin; ``setup`` is whatever
    else decides how a delegate computes, its options and the contents of its library."""

    runtime: str
    version: str
    delegate: str
    kernels: str
    threads: int
    model_sha256: str
    cpu: str
    setup: str = ""

    @classmethod
    def of(cls, info: RunnerInfo, *, model_sha256: str, cpu: str, setup: str = "") -> "Key":
        return cls(
            runtime=info.runtime,
            version=info.version,
            delegate=info.delegate,
            kernels=info.kernels,
            threads=info.threads,
            model_sha256=model_sha256,
            cpu=cpu,
            setup=setup,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryInput:
    """A golden tensor and the raw outputs recorded for it by the reference kernels. ``level`` is what
    one level of 256 is in its numbers (``wobble.level``)."""

    name: str
    tensor: Array
    outputs: tuple[Array, ...]
    level: NDArray[np.float64]

    @property
    def sha256(self) -> str:
        """Of the tensor: a blessing is for exactly these bytes."""
        return hashlib.sha256(np.ascontiguousarray(self.tensor).tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The worst output of an answer: ``differing`` of ``values`` numbers, the largest by ``largest``
    (stored levels of whole numbers; None where the shape is another or a number is not finite)."""

    output: str
    differing: int
    values: int
    largest: float | None
    whole: bool

    def __str__(self) -> str:
        if self.largest is None:
            how = "of another shape or not finite"
        else:
            how = f"by up to {self.largest:g}" + (" levels" if self.whole else "")
        name = plain_text(self.output, longest=_LONGEST_NAME)
        return f"output '{name}': {self.differing} of {self.values} values differ, {how}"


def difference(
    blessed: Sequence[Array], found: Sequence[Array], specs: Sequence[TensorSpec]
) -> Difference | None:
    """How ``found`` differs from the ``blessed`` outputs; None when it repeats them."""
    worst: Difference | None = None
    for was, now, spec in zip(blessed, found, specs, strict=True):
        one = _difference(was, now, spec.name)
        if one is not None and (worst is None or one.differing > worst.differing):
            worst = one
    return worst


def _difference(was: Array, now: Array, name: str) -> Difference | None:
    whole = was.dtype.kind in "iub"
    if was.shape != now.shape or was.dtype != now.dtype:
        return Difference(output=name, differing=was.size, values=was.size, largest=None, whole=whole)
    if was.tobytes() == now.tobytes():
        return None
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        apart = np.abs(was.astype(np.float64) - now.astype(np.float64))
    if whole:
        differs = was != now
    else:
        finite = np.isfinite(was)
        allowed = FLOAT_TOLERANCE * float(np.abs(was[finite]).max(initial=0.0))
        # What is not finite in both places alike (a box that is not there) is the same.
        alike = (was == now) | (np.isnan(was) & np.isnan(now))
        # Written so that NaN, which is not less than anything, differs.
        differs = ~((apart <= allowed) | alike)
    if not differs.any():
        return None
    largest = float(apart[differs].max())
    return Difference(
        output=name,
        differing=int(differs.sum()),
        values=was.size,
        largest=largest if np.isfinite(largest) else None,
        whole=whole,
    )
