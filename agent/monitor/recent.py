"""The newest sampled frames, for what is said of *now*: accuracy, and which features moved."""

import numpy as np
from numpy.typing import NDArray

NO_CLASS = -2
"""Stands for the class of a prediction without one; -1 is a detection of nothing."""


class Recent:
    """Keeps the newest ``capacity`` rows of ``features`` numbers."""

    def __init__(self, *, capacity: int, features: int) -> None:
        self._rows = np.empty((capacity, features), dtype=np.float32)
        self._classes = np.empty(capacity, dtype=np.int64)
        self._next = 0
        self._n = 0

    @property
    def n(self) -> int:
        return self._n

    def add(self, row: NDArray[np.float32], predicted: int | None) -> None:
        self._rows[self._next] = row
        self._classes[self._next] = NO_CLASS if predicted is None else predicted
        self._next = (self._next + 1) % len(self._rows)
        self._n = min(self._n + 1, len(self._rows))

    def rows(self) -> NDArray[np.float32]:
        """Oldest first: float32 (n, F)."""
        return self._rows[self._order()]

    def classes(self) -> list[int | None]:
        """The predicted class of each row, None without one."""
        return [None if index == NO_CLASS else index for index in self._classes[self._order()].tolist()]

    def clear(self) -> None:
        self._next = self._n = 0

    def _order(self) -> NDArray[np.int64]:
        return (np.arange(self._n) + self._next - self._n) % len(self._rows)
