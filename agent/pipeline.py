"""A frame's way from payload to prediction; every n-th frame is also shown to the statistics.

Orchestrates interfaces only: it holds no clock, file or thread, and time is an argument.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent.contracts import Array, Decoder, Frame, Prediction, Runner
from agent.monitor.latency import LatencyHistogram
from agent.preprocess.compiled import Compiled, Prepared
from agent.truth import Truth
from agent.watch import Seen, Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One frame's result. ``frame`` is the id that a later label may name."""

    frame: str
    name: str
    prediction: Prediction
    right: float | None = None
    """The calibrated probability that the prediction is right, where the bundle can tell."""


class Pipeline:
    """Runs frames through one model.

    ``clock_ns`` is only read to measure latency; ``look`` is shown the 8-bit picture (or the vector)
    of each sampled frame. Raises what its parts raise: FrameError for a frame that cannot be used,
    FrameLostError for one that was on its way when the runner was lost, DelegateError when the
    delegate fails for good.
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
        look: Callable[[Array], None] | None = None,
    ) -> None:
        self._session = session
        self._preprocess = preprocess
        self._runner = runner
        self._decoder = decoder
        self._watch = watch
        self._truth = truth
        self.sample_every = sample_every
        self._clock_ns = clock_ns
        self._look = look
        self._outputs = runner.outputs
        self.latency = LatencyHistogram()
        """From payload to prediction, of the frames since its reader cleared it."""
        self.frames = 0
        """Frames given to ``process``, usable or not."""
        self.inferences = 0
        self.last_inference_ns: int | None = None

    def process(self, frame: Frame) -> Outcome:
        """Preprocess, run, decode, remember; observe when the frame is due for sampling."""
        started_ns = self._clock_ns()
        self.frames += 1
        prepared = self._preprocess(frame.payload)
        due = self.inferences % self.sample_every == 0
        seen = self._see(prepared) if due else None
        raw = self._runner.run(prepared.tensor)
        prediction = self._decoder.decode(raw, self._outputs)
        frame_id = f"{self._session}-{self.frames}"
        right = self._watch.right_of(prediction)
        self._truth.remember(frame=frame_id, name=frame.name, prediction=prediction, right=right)
        self.inferences += 1
        self._watch.count_frame()
        ended_ns = self._clock_ns()
        if seen is not None:
            self._watch.observe(seen, prediction, now_ns=ended_ns)
        self.last_inference_ns = ended_ns
        self.latency.add(ended_ns - started_ns)
        return Outcome(frame=frame_id, name=frame.name, prediction=prediction, right=right)

    def _see(self, prepared: Prepared) -> Seen:
        view = self._preprocess.feature_view(prepared)
        if self._look is not None:
            self._look(view)
        return self._watch.see(view)
