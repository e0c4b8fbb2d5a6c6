"""How far two answers to one input lie apart, by task. Pure.

Half the sum of absolute score differences (total variation, 0 to 1) for classes; for boxes the score
differences of partners and the whole scores of those without, divided by the number of boxes; for
values the largest absolute difference.
"""

import math

import numpy as np

from agent.contracts import Array, Classification, Detections, Prediction, Regression

IOU = 0.5
"""Intersection over union from which two boxes of one class are the same."""


def distance(a: Prediction | None, b: Prediction | None) -> float:
    """None stands for no answer: against one it counts 1 for classes and boxes, infinite for values."""
    if isinstance(a, Classification) and isinstance(b, Classification):
        change = float(np.abs(a.scores.astype(np.float64) - b.scores).sum()) / 2
        return change if math.isfinite(change) else 1.0
    if isinstance(a, Regression) and isinstance(b, Regression):
        if a.values.shape != b.values.shape:
            return math.inf
        return float(np.abs(a.values - b.values).max(initial=0.0))
    if isinstance(a, Detections) and isinstance(b, Detections):
        pairs, alone_a, alone_b = partners(a, b)
        moved = sum(abs(float(a.scores[i]) - float(b.scores[j])) for i, j in pairs)
        alone = float(a.scores[alone_a].sum()) + float(b.scores[alone_b].sum())
        return (moved + alone) / max(1, len(pairs) + len(alone_a) + len(alone_b))
    if a is None and b is None:
        return 0.0
    return math.inf if isinstance(a or b, Regression) else 1.0


def partners(a: Detections, b: Detections) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs (place in ``a``, place in ``b``) and the places left alone on either side.

    Greedy, best score of ``a`` first, as the evaluation of the PASCAL VOC challenge matches boxes
    (M. Everingham et al., International Journal of Computer Vision 88 (2010)).
    """
    pairs: list[tuple[int, int]] = []
    free = set(range(len(b.scores)))
    for i in range(len(a.scores)):
        best, best_iou = -1, IOU
        for j in free:
            overlap = iou(a.boxes[i], b.boxes[j]) if a.classes[i] == b.classes[j] else 0.0
            if overlap >= best_iou:
                best, best_iou = j, overlap
        if best >= 0:
            pairs.append((i, best))
            free.remove(best)
    taken = {i for i, _ in pairs}
    return pairs, [i for i in range(len(a.scores)) if i not in taken], sorted(free)


def iou(a: Array, b: Array) -> float:
    """Intersection over union of two boxes (ymin, xmin, ymax, xmax); 0 for empty ones."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = float(height * width)
    return shared / (float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - shared)
