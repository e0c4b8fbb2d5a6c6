"""The eight ways to turn and mirror a picture (the dihedral group D4)."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contracts import Array
from calibration.hypothesis.hypothesis import Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """``found = turn(expected)``: exchange height and width, then mirror rows, then columns."""

    transposed: bool
    rows: bool
    columns: bool
    difference: Difference | None

    def apply(self, image: Array) -> Array:
        if self.transposed:
            image = image.swapaxes(0, 1)
        if self.rows:
            image = image[::-1]
        return image[:, ::-1] if self.columns else image

    def undo(self, image: Array) -> Array:
        if self.columns:
            image = image[:, ::-1]
        if self.rows:
            image = image[::-1]
        return image.swapaxes(0, 1) if self.transposed else image


def _turn(code: str, step: str, kind: str, text: str) -> Turn:
    difference = Difference(step=step, kind=kind, text=text) if text else None
    return Turn(transposed="t" in code, rows="r" in code, columns="c" in code, difference=difference)


TURNS: Final = (
    _turn("", "", "", ""),
    _turn("c", "rotate", "flip", "the picture is mirrored left to right"),
    _turn("r", "rotate", "flip", "the picture is mirrored top to bottom"),
    _turn("rc", "rotate", "rotation", "the picture is turned by 180 degrees"),
    _turn("tc", "rotate", "rotation", "the picture is turned by 90 degrees clockwise"),
    _turn("tr", "rotate", "rotation", "the picture is turned by 270 degrees clockwise"),
    _turn("t", "cast", "transposed", "height and width are exchanged (the picture is transposed)"),
    _turn("trc", "rotate", "flip", "the picture is turned by 90 degrees and mirrored"),
)
IDENTITY: Final = TURNS[0]


def contiguous(image: Array) -> Array:
    return np.ascontiguousarray(image)
