"""The observations of a tumbling window, until they become a profile."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Profile
from agent.monitor.profiles import profile_of
from agent.monitor.reference import Reference

Pixels: TypeAlias = NDArray[np.int64]
_FIRST_CAPACITY = 128
_NO_PIXELS: Pixels = np.zeros((0, 256), dtype=np.int64)


class WindowBuilder:
    """Collects a window's observations. ``add`` only stores; ``profile`` counts."""

    def __init__(self, reference: Reference) -> None:
        # Imported here: a server merges profiles with this module and has no OpenCV.
        from agent.monitor.pixels import pixel_counts

        self._reference = reference
        self._pixel_counts = pixel_counts
        self._image = bool(len(reference.profile.pixels))
        self._rows = np.empty((_FIRST_CAPACITY, len(reference.features)), dtype=np.float32)
        self._groups = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._pixels = np.zeros_like(reference.profile.pixels)
        self._n = 0

    @property
    def n(self) -> int:
        """Observations so far."""
        return self._n

    def pixels_of(self, view: Array) -> Pixels:
        """What ``add`` takes of a view: the pixel counts of an image, nothing of a vector."""
        return self._pixel_counts(view) if self._image else _NO_PIXELS

    def add(self, row: NDArray[np.float32], group: int, pixels: Pixels) -> None:
        """One sampled frame: its features (F,), its predicted class's group (-1 without classes),
        and ``pixels_of`` the view the features came from.

        Raises ValueError when the row has another length than the reference's.
        """
        if row.shape != self._rows.shape[1:]:
            raise ValueError(f"expected a row of {self._rows.shape[1]} features, got shape {row.shape}")
        if self._n == len(self._rows):
            self._grow()
        self._rows[self._n] = row
        self._groups[self._n] = group
        self._pixels += pixels
        self._n += 1

    def profile(self) -> Profile:
        """The profile of everything added since the last ``clear``."""
        return profile_of(
            self._rows[: self._n],
            self._groups[: self._n],
            features=self._reference.features,
            edges=self._reference.edges,
            n_groups=len(self._reference.groups.names),
            pixels=self._pixels,
            elements=len(self._reference.profile.cross),
        )

    def clear(self) -> None:
        """Begin the next window."""
        self._n = 0
        self._pixels[:] = 0

    def _grow(self) -> None:
        self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._groups = np.concatenate([self._groups, np.empty_like(self._groups)])
