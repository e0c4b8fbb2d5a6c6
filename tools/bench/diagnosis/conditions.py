"""The data pack's own table of what mistakes cost, beside what the bench measures."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tools.bench.diagnosis.classifiers import CLASSIFIERS
from tools.bench.diagnosis.engines import Engine
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.diagnosis.truth import Outputs, top
from tools.bench.figures import Figure

SAME: Final[Mapping[str, str]] = {
    "ref": "trained (central)",
    "bgr": "BGR (OpenCV)",
    "nocrop_squash": "no crop (OpenCV)",
    "centre_square": "central square (OpenCV)",
    "letterbox_black": "letterbox (whole picture)",
    "interp_nearest": "nearest (OpenCV)",
    "interp_area": "area (OpenCV)",
    "interp_cubic": "cubic (OpenCV)",
    "interp_pil_antialias": "antialias (Pillow)",
    "rot90": "rotate 90 (NumPy)",
    "rot270": "rotate 90 (OpenCV)",
    "rot180": "rotate 180 (OpenCV)",
    "hflip": "horizontal flip (OpenCV)",
    "norm_01": "[0, 1] (NumPy)",
    "norm_meanstd": "mean and std (NumPy)",
    "u8_sign_flip": "signedness (bit)",
    "uv_swap": "UV swap (NumPy)",
    "yuv_limited_range": "limited range (NumPy)",
    "linear_gamma": "gamma (sRGB undone)",
    "jpeg_q10": "JPEG quality 10 (OpenCV)",
    "lowres_64": "low resolution (OpenCV)",
}
"""The table's name of a condition → the pipeline here that comes nearest to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Points of top-1 accuracy that a condition costs, over ``pictures`` photographs: by the table, and
    here."""

    classifier: str
    condition: str
    pipeline: str
    pictures: int
    table: float
    measured: float

    @property
    def apart(self) -> float:
        return self.measured - self.table


@dataclass(frozen=True, slots=True)
class _Listed:
    right: int
    n: int


def compared(pack: Path, pictures: Sequence[Photograph], outputs: Outputs) -> tuple[Compared, ...]:
    """Every condition that both have, the table's folders put together; none where only a part of the
    photographs was run."""
    by_file = {classifier.file: classifier.name for classifier in CLASSIFIERS}
    listed: dict[tuple[str, str], _Listed] = {}
    with (pack / "conditions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key, n = (by_file.get(row["model"], ""), row["condition"]), int(row["n"])
            seen = listed.get(key, _Listed(0, 0))
            listed[key] = _Listed(seen.right + round(n * float(row["top1"])), seen.n + n)
    found = []
    labels = np.array([given.label for given in pictures])
    for (classifier, condition), counted in listed.items():
        run, base = ((Engine(file=classifier), SAME.get(name, "")) for name in (condition, "ref"))
        if condition == "ref" or run not in outputs or counted.n != len(pictures):
            continue
        reference = listed[classifier, "ref"]
        right = [100 * float((top(outputs[given]) == labels).mean()) for given in (base, run)]
        found.append(
            Compared(
                classifier=classifier,
                condition=condition,
                pipeline=run[1],
                pictures=counted.n,
                table=100 * (reference.right - counted.right) / counted.n,
                measured=right[0] - right[1],
            )
        )
    return tuple(found)


def differences(found: Sequence[Compared]) -> list[Figure]:
    apart = [abs(given.apart) for given in found]
    if not apart:
        return []
    return [
        Figure(
            name="costs here and in the data pack's table: mean difference",
            value=float(np.mean(apart)),
            unit="points",
            detail=f"{len(apart)} conditions, at most {max(apart):.1f}",
        )
    ]
