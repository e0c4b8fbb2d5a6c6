"""The newest rows are kept, oldest first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.monitor.recent import Recent


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.none() | st.integers(-1, 9)), max_size=30))
def test_the_newest_are_kept_in_order(added: list[tuple[int, int | None]]) -> None:
    recent = Recent(capacity=7, features=2)
    for value, predicted in added:
        recent.add(np.array([value, -value], np.float32), predicted)
    newest = added[-7:]
    assert recent.n == len(newest)
    assert recent.rows().tolist() == [[value, -value] for value, _ in newest]
    assert recent.classes() == [predicted for _, predicted in newest]


def test_cleared_it_begins_anew() -> None:
    recent = Recent(capacity=3, features=1)
    for value in range(5):
        recent.add(np.array([value], np.float32), None)
    recent.clear()
    assert recent.rows().shape == (0, 1)
    recent.add(np.array([9.0], np.float32), 4)
    assert (recent.rows().tolist(), recent.classes()) == ([[9.0]], [4])
