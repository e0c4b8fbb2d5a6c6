"""The values that travel through the agent, and the interfaces between its rooms.

Arrays inside a value are never written to after it is made. Time is always an argument:
``*_ns`` is the monotonic clock in nanoseconds, ``*_at`` is UTC in RFC 3339.

Glossary: a *source* yields *frames*; the compiled *preprocess spec* turns a frame's payload into
the model's *tensor*; a *runner* (interpreter + delegate) turns the tensor into raw outputs; a
*decoder* turns those into a *prediction*; a sampled frame and its prediction become an
*observation* (one number per *feature*); observations of a tumbling window become a *profile*
(counts and moments, merged by addition), which *detectors* score against the *reference*.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Image: TypeAlias = NDArray[np.uint8]
"""H×W×3, RGB, uint8."""
Vector: TypeAlias = NDArray[np.float64]
"""One sensor reading, shape (n,)."""
Payload: TypeAlias = bytes | Image | Vector
"""What a source delivers: an encoded image file, decoded RGB pixels, or a vector."""
Against: TypeAlias = Literal["training", "commissioning"]
"""Which reference something is compared with: the bundle's, or this device's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One input as its source delivered it.

    ``name`` is what the source calls it (a file name, a row id); labels may refer to it.
    """

    payload: Payload
    captured_ns: int
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An input its source could not deliver, and why: counted, reported and passed over.

    ``name`` is what a frame made of it would have been called.
    """

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """A tensor of the model: ``value = scale * (stored - zero_point)`` when ``scale`` is not 0."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def quantized(self) -> bool:
        return self.scale != 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerInfo:
    """What really runs the model; ``ops_delegated`` of ``ops_total`` left the built-in kernels."""

    runtime: str
    version: str
    delegate: str
    kernels: str
    threads: int
    ops_total: int
    ops_delegated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """Scores over all outputs (float32, shape (C,)), and the winning output's index and score."""

    scores: NDArray[np.float32]
    top: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """Boxes (float32, (n, 4): ymin, xmin, ymax, xmax in 0..1), class indices (int64, (n,)),
    scores (float32, (n,)), best first."""

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """Predicted values in the model's own units (float64, shape (k,))."""

    values: NDArray[np.float64]


Prediction: TypeAlias = Classification | Detections | Regression


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """A sampled frame as the detectors see it.

    ``row`` is float32 (F,) in the order of the reference's features; ``group`` is the group of the
    predicted class in the *same* reference, or -1 without classes. ``right`` is the calibrated
    probability that the prediction is right (0 … 1), None where the bundle cannot tell.
    ``independent`` marks the frames left after thinning: so far apart that tests which assume
    independent observations may be given them.
    """

    row: NDArray[np.float32]
    group: int
    right: float | None
    at_ns: int
    independent: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Counts and moments of ``n`` observations; merging is addition, exact for every count.

    counts int64 (F, B): observations per reference bin. mean, m2 float64 (F,): running mean and
    sum of squared deviations. groups int64 (G,): predicted classes per group.
    pixels int64 (3, 256): exact counts of the 8-bit model input per channel (0 rows for vectors).
    cross float64 (V, V): sums of products of the deviations of a vector's V elements ((0, 0) for
    images); it merges like m2, which is its diagonal.
    """

    features: tuple[str, ...]
    n: int
    counts: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    groups: NDArray[np.int64]
    pixels: NDArray[np.int64]
    cross: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureDistance:
    """How far one feature of a window lies from the reference, by the measures people know."""

    name: str
    family: str
    chi2: float
    psi: float
    ks: float
    wasserstein: float
    js: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftScore:
    """One detector's verdict on ``n`` observations; it is drift when ``p <= alpha``.

    ``p`` is how probable such a verdict is when nothing changed, ``alpha`` what the promise allowed
    this time. ``statistics`` are the detector's own numbers by name; ``distances`` come worst first
    (empty: the detector does not look at single features).
    """

    detector: str
    n: int
    p: float
    alpha: float
    statistics: tuple[tuple[str, float], ...]
    distances: tuple[FeatureDistance, ...] = ()

    @property
    def drifted(self) -> bool:
        return self.p <= self.alpha


class Source(Protocol):
    """Where frames come from. A frozen dataclass whose fields are its options in agent.yaml.

    Constructing does no I/O. ``open`` starts delivery; iterating the feed blocks for the next
    frame and ends when the source is exhausted or the feed was closed from another thread.
    """

    @property
    def fps(self) -> float | None:
        """Frames a second the source is paced to; None: as fast as they come."""
        ...

    @property
    def live(self) -> bool:
        """Whether the scene goes on by itself, so that a late reader loses the oldest frames;
        otherwise the source waits for its reader and nothing is lost."""
        ...

    def open(self) -> "Feed": ...


class Feed(Protocol):
    """An opened source. Raises SourceError when the source is lost."""

    @property
    def resumes(self) -> bool:
        """Whether it may be iterated again after a SourceError: it knows what it has delivered."""
        ...

    def __iter__(self) -> Iterator[Frame | Skipped]: ...

    def close(self) -> None: ...


class Runner(Protocol):
    """An interpreter with its delegate, ready to run."""

    @property
    def info(self) -> RunnerInfo: ...

    @property
    def input(self) -> TensorSpec: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, tensor: Array) -> tuple[Array, ...]:
        """Run one input tensor; the raw output tensors, still quantized, owned by the caller.

        Raises DelegateError when the delegate or its device fails.
        """
        ...

    def close(self) -> None: ...


class Decoder(Protocol):
    """Pure: raw output tensors in, a prediction out. Its fields are its options in the manifest."""

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Prediction: ...


class Detector(Protocol):
    """Watches a stream of sampled frames for change against one reference. Keeps no clock: its
    result depends on nothing but what it was given."""

    @property
    def name(self) -> str: ...

    def add(self, sampled: Sampled) -> DriftScore | None:
        """Take a sampled frame in (every one, independent or not: each detector uses those it can);
        a score when one is due, None otherwise."""
        ...

    def forget(self) -> None:
        """Begin anew, as after an alarm that was dealt with."""
        ...
