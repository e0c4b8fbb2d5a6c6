"""The outbox's messages that are not on disk yet, bounded by bytes."""

from dataclasses import replace

from agent.telemetry.ports import Stored

ROW_OVERHEAD = 256
"""Bytes a row counts beyond its body."""
KEPT_LONGEST = "alarm"
"""The kind that is dropped last when there is no room."""


def size_of(row: Stored) -> int:
    """Bytes a row counts against ``max_bytes``."""
    return len(row.body.encode()) + ROW_OVERHEAD


class Waiting:
    """Rows in the order they were made."""

    def __init__(self) -> None:
        self.rows: list[Stored] = []
        self.bytes = 0

    def add(self, row: Stored) -> None:
        self.rows.append(row)
        self.bytes += size_of(row)

    def clear(self) -> None:
        self.rows, self.bytes = [], 0

    def forget(self, ids: set[int]) -> None:
        gone = [row for row in self.rows if row.id in ids]
        if gone:
            self.rows = [row for row in self.rows if row.id not in ids]
            self.bytes -= sum(map(size_of, gone))

    def bound(self, limit: int) -> int:
        """Drop the oldest beyond ``limit`` bytes, alarms last; how many."""
        excess, gone = self.bytes - limit, set()
        for row in sorted(self.rows, key=lambda row: (row.kind == KEPT_LONGEST, row.id)):
            if excess <= 0:
                break
            gone.add(row.id)
            excess -= size_of(row)
        self.forget(gone)
        return len(gone)

    def renumber(self, offset: int) -> None:
        """Raise every id by ``offset``."""
        self.rows = [replace(row, id=row.id + offset) for row in self.rows]
