"""Sums of a value over any span of a stream that never ends, in little memory.

An exponential histogram: M. Datar et al., "Maintaining stream statistics over sliding windows", SIAM Journal
on Computing 31 (2002). Blocks of 64 values grow by merging two into one as they age, so a span's ends are
rounded outwards to at most about 3 % of their age, and a year of a fast camera is some two thousand blocks.
"""

from collections import deque

from agent.monitor.ppi import Pool

BLOCK = 64
BLOCKS_PER_SIZE = 64


class Spans:
    """Values by position: the first has position 0."""

    def __init__(self) -> None:
        self.n = 0
        # By size, small ones first; within a size the oldest first. Each is the last position and its sums.
        self._sizes: list[deque[tuple[int, Pool]]] = [deque()]
        self._n, self._total, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> int:
        """Its position."""
        at = self.n
        self.n += 1
        self._n += 1
        self._total += value
        self._squares += value * value
        if self._n == BLOCK:
            self._sizes[0].append((at, self._open()))
            self._n, self._total, self._squares = 0, 0.0, 0.0
            self._age()
        return at

    def over(self, first: int, last: int) -> Pool:
        """The sums over positions ``first`` to ``last``, and what stands with them in their blocks."""
        found = Pool()
        begins = 0
        for blocks in reversed(self._sizes):
            for ends, sums in blocks:
                if ends >= first and begins <= last:
                    found += sums
                begins = ends + 1
        return found + self._open() if last >= begins else found

    def _open(self) -> Pool:
        return Pool(n=self._n, total=self._total, squares=self._squares)

    def _age(self) -> None:
        for size, blocks in enumerate(self._sizes):
            if len(blocks) <= BLOCKS_PER_SIZE:
                return
            if size + 1 == len(self._sizes):
                self._sizes.append(deque())
            (_, older), (ends, newer) = blocks.popleft(), blocks.popleft()
            self._sizes[size + 1].append((ends, older + newer))
