"""A frame's way from payload to prediction; every n-th frame is also shown to the statistics.

Orchestrates interfaces only: it holds no clock, file or thread, and time is an argument.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.contracts import Decoder, Frame, Prediction, Runner
from agent.preprocess.compiled import Compiled
from agent.truth import Truth
from agent.watch import Watch

LATENCIES_KEPT = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Percentiles (nearest rank) of the newest frames, from payload to prediction; None before the
    first."""

    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One frame's result. ``frame`` is the id that a later label may name."""

    frame: str
    name: str
    prediction: Prediction


class Pipeline:
    """Runs frames through one model.

    ``clock_ns`` is only read to measure latency. Raises what its parts raise: FrameError for a
    frame that cannot be used, DelegateError when the delegate fails.
    """

    def __init__(
        self,
        *,
        session: str,
        preprocess: Compiled,
        runner: Runner,
        decoder: Decoder,
        watch: Watch,
        truth: Truth,
        sample_every: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._session = session
        self._preprocess = preprocess
        self._runner = runner
        self._decoder = decoder
        self._watch = watch
        self._truth = truth
        self._sample_every = sample_every
        self._clock_ns = clock_ns
        self._outputs = runner.outputs
        self._latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.frames = 0
        """Frames given to ``process``, usable or not."""
        self.inferences = 0
        self.last_inference_ns: int | None = None

    def process(self, frame: Frame) -> Outcome:
        """Preprocess, run, decode, remember; observe when the frame is due for sampling."""
        started_ns = self._clock_ns()
        self.frames += 1
        prepared = self._preprocess(frame.payload)
        due = self.inferences % self._sample_every == 0
        seen = self._watch.see(self._preprocess.feature_view(prepared)) if due else None
        raw = self._runner.run(prepared.tensor)
        prediction = self._decoder.decode(raw, self._outputs)
        frame_id = f"{self._session}-{self.frames}"
        self._truth.remember(frame=frame_id, name=frame.name, prediction=prediction)
        self.inferences += 1
        self._watch.count_frame()
        ended_ns = self._clock_ns()
        if seen is not None:
            self._watch.observe(seen, prediction, now_ns=ended_ns)
        self.last_inference_ns = ended_ns
        self._latencies_ns.append(ended_ns - started_ns)
        return Outcome(frame=frame_id, name=frame.name, prediction=prediction)

    def latency(self) -> Latency:
        if not self._latencies_ns:
            return Latency(p50_ms=None, p95_ms=None)
        ordered = sorted(self._latencies_ns)
        p50, p95 = (ordered[math.ceil(share * len(ordered)) - 1] / 1e6 for share in (0.50, 0.95))
        return Latency(p50_ms=round(p50, 3), p95_ms=round(p95, 3))
