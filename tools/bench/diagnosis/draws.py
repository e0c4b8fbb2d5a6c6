"""Draws of the golden set: which photographs a device carries, and which are left to tell the truth."""

from dataclasses import dataclass

import numpy as np

from agent.contracts import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """Places of photographs. ``golden`` (the ``head`` first) and ``outside`` are disjoint and together
    all. ``group`` numbers the draws that share a head."""

    golden: Array
    outside: Array
    head: Array
    group: int


def draws(
    photographs: int, *, size: int, groups: int, per_group: int, head: int, seed: int
) -> tuple[Draw, ...]:
    """``groups`` × ``per_group`` draws of ``size`` photographs, blindly and without replacement.

    Tensors are compared on the first few inputs of a golden set, and that comparison is dear: draws of
    one group share these ``head`` inputs, the others are drawn anew.
    """
    rng = np.random.default_rng(seed)
    made = []
    for group in range(groups):
        shuffled = rng.permutation(photographs)
        first, rest = shuffled[:head], shuffled[head:]
        for _ in range(per_group):
            order = rng.permutation(rest)
            golden = np.concatenate([first, order[: size - head]])
            made.append(Draw(golden=golden, outside=np.sort(order[size - head :]), head=first, group=group))
    return tuple(made)
