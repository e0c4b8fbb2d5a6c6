"""Boxes as SSD models give them after their own non-maximum suppression."""

from dataclasses import dataclass

import numpy as np

from agent.contracts import Array, Detections, TensorSpec
from agent.decode.outputs import beyond, not_finite
from agent.errors import FrameError
from agent.quantize import dequantize


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionDecoder:
    """The four outputs of the operator ``TFLite_Detection_PostProcess``, each by its number.

    Boxes (1, N, 4) as ymin, xmin, ymax, xmax relative to the input image; classes (1, N), counted
    without background; scores (1, N); count (1,), how many of the N are filled. Other exporters
    number the outputs otherwise. Detections scoring below ``threshold`` are left out.
    """

    boxes: int = 0
    classes: int = 1
    scores: int = 2
    count: int = 3
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: expected 0 to 1, got {self.threshold}")

    def check(self, specs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
        """What keeps this decoder from reading a model's outputs, each problem by its field."""
        fields = {"boxes": self.boxes, "classes": self.classes, "scores": self.scores, "count": self.count}
        if missing := beyond(specs, **fields):
            return missing
        if len(set(fields.values())) < len(fields):
            return (f"boxes, classes, scores, count: expected four different outputs, got {fields}",)
        return self._misshapen(specs)

    def _misshapen(self, specs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
        # A free shape reads as () before the first run; nothing can be said about it here.
        boxes, count = specs[self.boxes], specs[self.count]
        problems = []
        if boxes.shape and boxes.shape[-1] != 4:
            problems.append(f"boxes: expected shape (1, N, 4), '{boxes.name}' has {boxes.shape}")
        for field in ("classes", "scores"):
            spec = specs[getattr(self, field)]
            if boxes.shape and spec.shape and np.prod(spec.shape) * 4 != np.prod(boxes.shape):
                problems.append(f"{field}: expected one number per box, '{spec.name}' has shape {spec.shape}")
        if np.prod(count.shape) != 1:
            problems.append(f"count: expected one number, '{count.name}' has shape {count.shape}")
        return tuple(problems)

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Detections:
        """The kept boxes, best first, clipped to the image.

        Raises FrameError when the model answers with NaN or infinity.
        """
        scores = dequantize(outputs[self.scores].reshape(-1), specs[self.scores])
        filled = self._filled(outputs, specs, scores.size)
        if not np.isfinite(scores[:filled]).all():
            raise not_finite(specs[self.scores])
        kept = np.flatnonzero(scores[:filled] >= np.float32(self.threshold))
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        boxes = dequantize(outputs[self.boxes].reshape(-1, 4)[kept], specs[self.boxes])
        classes = dequantize(outputs[self.classes].reshape(-1)[kept], specs[self.classes])
        for values, output in ((boxes, self.boxes), (classes, self.classes)):
            if not np.isfinite(values).all():
                raise not_finite(specs[output])
        return Detections(
            boxes=boxes.clip(0, 1), classes=np.rint(classes).astype(np.int64), scores=scores[kept]
        )

    def _filled(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], most: int) -> int:
        count = float(dequantize(outputs[self.count].reshape(-1), specs[self.count])[0])
        if not 0 <= count <= most:  # false for NaN as well
            raise FrameError(f"the model counts {count:g} detections, its outputs hold {most}")
        return round(count)
