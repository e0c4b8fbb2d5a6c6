"""Several mistakes at once, in every combination: what attribution has to share out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from agent.contracts import Array
from tools.bench.diagnosis import value_faults
from tools.bench.diagnosis.pipelines import Pipeline
from tools.bench.diagnosis.shot import Shot, central, squeezed


@dataclass(frozen=True, kw_only=True, slots=True)
class Compound:
    """Bit i of a mix sets factor i."""

    name: str
    factors: tuple[str, ...]

    def key(self, mix: int) -> str:
        return f"{self.name} ({mix:0{len(self.factors)}b})"

    def pipeline(self, mix: int) -> Pipeline:
        chosen = {factor for i, factor in enumerate(self.factors) if mix >> i & 1}
        return Pipeline(
            name=self.name,
            by=f"{mix:0{len(self.factors)}b}",
            step=None,
            picture=lambda shot: _picture(shot, chosen),
            values=value_faults.unit if "normalisation" in chosen else value_faults.trained,
        )


_METHODS: Final[Mapping[str, int]] = {"nearest": cv2.INTER_NEAREST, "area": cv2.INTER_AREA}
COMPOUNDS = (
    Compound(name="four mistakes", factors=("colour order", "no crop", "nearest", "normalisation")),
    Compound(name="three mild mistakes", factors=("no crop", "area", "mirrored")),
)
MIXES = {
    compound.key(mix): compound.pipeline(mix)
    for compound in COMPOUNDS
    for mix in range(2 ** len(compound.factors))
}


def _picture(shot: Shot, chosen: set[str]) -> Array:
    picture = shot.bgr if "colour order" in chosen else shot.opencv
    method = next((_METHODS[name] for name in chosen if name in _METHODS), cv2.INTER_LINEAR)
    made = squeezed(picture if "no crop" in chosen else central(picture), method)
    return np.ascontiguousarray(made[:, ::-1]) if "mirrored" in chosen else made
