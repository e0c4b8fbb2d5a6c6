"""Frames worth keeping, from the pipeline to disk and, where the options say so, to a ``sample`` message.

Off by default: without ``capture.enabled`` neither chance nor a command makes it look at a frame.
"""

import base64
import json
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from agent.contracts import Classification, Detections, Frame, Payload, Prediction
from agent.errors import FrameError, InputError, MachineError
from agent.monitor.capture import HOUR_NS, CaptureOptions, CapturePolicy, Choice, confidence_of
from agent.monitor.sample_picture import sample_picture
from agent.preprocess.decoding import Decode
from agent.telemetry.clock import format_utc
from agent.telemetry.messages import Sample

MOST_IMAGE_BYTES = 180_000
"""Of a picture that is sent: as base64, with its envelope, it fits in one message."""
MOST_SENT_VALUES = 10_000
ANY_PICTURE = Decode(exif="ignore")


class Store(Protocol):
    """Where kept frames lie; see ``agent.samples``."""

    def keep(self, name: str, *, record: str, picture: bytes | None) -> None: ...

    def ages_s(self, now_s: float) -> list[float]: ...


class NotCapturedError(InputError):
    """A frame that was asked for is not kept, and why."""


class Capture:
    """``decode`` is the spec's own first step, so that a kept picture stands as the model saw it;
    ``random`` gives numbers in [0, 1), ``wall`` Unix time in seconds. ``on_kept`` is told the id of each kept
    frame and for how many its label stands (0: for itself alone)."""

    def __init__(
        self,
        options: CaptureOptions,
        *,
        store: Store,
        decode: Decode | None,
        wall: Callable[[], float],
        random: Callable[[], float],
        now_ns: int,
        on_kept: Callable[[str, float], None] | None = None,
    ) -> None:
        self.kept = 0
        self.problem: str | None = None
        """Why the newest frame that was chosen could not be kept; None when it was."""
        self._options = options
        self._store = store
        self._decode = decode or ANY_PICTURE
        self._wall = wall
        self._random = random
        self._on_kept = on_kept
        self._policy = CapturePolicy(options, now_ns=now_ns, taken_ns=self._earlier(now_ns))

    @property
    def refused(self) -> int:
        """Frames that were wanted and that the hourly quota did not let pass."""
        return self._policy.refused

    def offer(
        self,
        frame: Frame,
        prediction: Prediction,
        frame_id: str,
        now_ns: int,
        *,
        alarmed: bool,
        right: float | None = None,
    ) -> Sample | None:
        """Keep the frame if it is chosen; the message to publish, if it is to be published. ``right`` is the
        calibrated probability that the prediction is right, where the bundle can tell."""
        if not self._options.enabled:
            return None
        choice = self._policy.choose(
            confidence=confidence_of(prediction),
            alarmed=alarmed,
            chance=self._random(),
            now_ns=now_ns,
            right=right,
        )
        if choice is None:
            return None
        try:
            return self._keep(frame, prediction, frame_id, now_ns, choice)
        except (MachineError, FrameError, ValueError) as error:
            self.problem = str(error)
            return None

    def now(self, frame: Frame, prediction: Prediction, frame_id: str, now_ns: int) -> Sample | None:
        """Keep this frame because somebody asks for it; the message to publish, if it is to be published.

        Raises NotCapturedError when capture is off, the quota is used up or the frame cannot be kept.
        """
        if not self._options.enabled:
            raise NotCapturedError("capture.enabled: is false on this device: no frame is ever kept")
        choice = self._policy.ask(now_ns)
        if choice is None:
            raise NotCapturedError(f"capture.per_hour: {self._options.per_hour} frames were kept in an hour")
        try:
            return self._keep(frame, prediction, frame_id, now_ns, choice)
        except (MachineError, FrameError, ValueError) as error:
            self.problem = str(error)
            raise NotCapturedError(str(error)) from None

    def _earlier(self, now_ns: int) -> list[int]:
        """When the last hour's frames of earlier sessions were kept: a restart renews no quota."""
        if not self._options.enabled:
            return []
        ages_ns = (int(age_s * 1e9) for age_s in self._store.ages_s(self._wall()))
        return [now_ns - age_ns for age_ns in ages_ns if age_ns < HOUR_NS]

    def _keep(
        self, frame: Frame, prediction: Prediction, frame_id: str, now_ns: int, choice: Choice
    ) -> Sample | None:
        picture: bytes | None = None
        values: tuple[float, ...] = ()
        if isinstance(frame.payload, np.ndarray) and frame.payload.ndim == 1:
            values = tuple(frame.payload.astype(float).tolist())
        else:
            picture = self._picture(frame.payload)
        captured_at = format_utc(self._wall() - (now_ns - frame.captured_ns) / 1e9)
        record = {
            "frame": frame_id,
            "name": frame.name,
            "captured_at": captured_at,
            "reason": choice.reason,
            "weight": choice.weight,
            "label_weight": choice.label_weight,
            "prediction": _plain(prediction),
            "values": [_finite(value) for value in values],
        }
        self._store.keep(frame_id, record=json.dumps(record, ensure_ascii=False), picture=picture)
        self.kept += 1
        self.problem = None
        if self._on_kept is not None:
            self._on_kept(frame_id, choice.label_weight)
        if not self._options.publish:
            return None
        return self._sample(frame_id, captured_at, choice, picture, values)

    def _picture(self, payload: Payload) -> bytes:
        limit = MOST_IMAGE_BYTES if self._options.publish else None
        return sample_picture(self._decode.apply(payload), self._options, max_bytes=limit)

    def _sample(
        self,
        frame_id: str,
        captured_at: str,
        choice: Choice,
        picture: bytes | None,
        values: tuple[float, ...],
    ) -> Sample | None:
        if len(values) > MOST_SENT_VALUES or not all(map(math.isfinite, values)):
            # A message holds numbers only; what it cannot say without a lie stays on the device.
            return None
        return Sample(
            frame=frame_id,
            captured_at=captured_at,
            reason=choice.reason,
            image=base64.b64encode(picture).decode() if picture else "",
            values=values,
            weight=choice.weight,
            label_weight=choice.label_weight,
        )


def _plain(prediction: Prediction) -> dict[str, Any]:
    match prediction:
        case Classification():
            return {"top": prediction.top, "score": round(float(prediction.score), 6)}
        case Detections():
            return {
                "boxes": prediction.boxes.astype(float).round(5).tolist(),
                "classes": prediction.classes.tolist(),
                "scores": prediction.scores.astype(float).round(6).tolist(),
            }
        case _:
            return {"values": [_finite(float(value)) for value in prediction.values]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
