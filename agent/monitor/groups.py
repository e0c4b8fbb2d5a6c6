"""Predicted classes, grouped: the reference's most frequent ones alone, the rest together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Classification, Detections, Prediction

ALONE = 15
"""At most so many classes have a group of their own."""
NOTHING = -1
"""The class of a detection that found nothing."""
NO_GROUP = -1
"""The group of a prediction without classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """``names`` of all groups; group i holds class ``classes[i]``, the last one every other class.
    Both are empty for predictions without classes."""

    names: tuple[str, ...]
    classes: tuple[int, ...]

    def of(self, prediction: Prediction) -> int:
        """The group of a prediction, or NO_GROUP."""
        return self.of_class(predicted_class(prediction))

    def of_class(self, index: int | None) -> int:
        """The group of a class index, or NO_GROUP."""
        if index is None or not self.names:
            return NO_GROUP
        return self.classes.index(index) if index in self.classes else len(self.classes)


NO_GROUPS = Groups(names=(), classes=())


def predicted_class(prediction: Prediction) -> int | None:
    """The class index a prediction stands for: the top output, the best detection's class (or
    NOTHING), None for a regression."""
    if isinstance(prediction, Classification):
        return prediction.top
    if isinstance(prediction, Detections):
        return int(prediction.classes[0]) if len(prediction.classes) else NOTHING
    return None


def group_classes(classes: NDArray[np.int64], labels: Sequence[str] = ()) -> Groups:
    """Group the classes predicted over the reference, shape (N,); ``labels[i]`` names class i.

    Equally frequent classes are taken by lower index. Names are made unique with the index.
    """
    found, counts = np.unique(classes, return_counts=True)
    alone = tuple(int(found[at]) for at in np.argsort(-counts, kind="stable")[:ALONE])
    names = ["other"]
    for index in alone:
        name = _class_name(index, labels)
        names.append(f"{name} ({index})" if name in names else name)
    return Groups(names=(*names[1:], names[0]), classes=alone)


def _class_name(index: int, labels: Sequence[str]) -> str:
    if index == NOTHING:
        return "nothing"
    return labels[index] if 0 <= index < len(labels) and labels[index] else f"class {index}"
