"""What a check found: the ladder rung by rung, one verdict, one sentence. Values only.

``CheckResult`` is what ``litewatch check`` computes, what its JSON holds, what ``litewatch show``
reads back and what the report draws; ``message`` is the part that is published.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["ok", "changed", "harmful"]
Evidence: TypeAlias = Literal["accuracy", "flips", "margins", "outputs", "tensors"]
"""What a verdict rests on: the exact test on paired outcomes, top-1 flips, flips of the margin
stratum, the output numbers, the input tensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputError:
    """Differences of the dequantized outputs against the rung above. ``snr_db`` is None when nothing
    differs (infinite)."""

    largest: float
    mean: float
    snr_db: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFamily:
    """One family of kernels against the recorded outputs. ``inputs`` were run by it."""

    name: str
    inputs: int
    flips: int
    error: OutputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One rung against the one above it.

    ``flips`` counts golden inputs of the random stratum whose top-1 changed (detection: boxes without
    a match; regression: values that moved beyond the recorded tolerance) out of ``units`` that could
    have (detection: boxes of either rung, partners counted once; else inputs). ``labelled`` inputs have
    a label that can say right or wrong; None for both in results of before. ``accuracy`` with its
    interval ``low`` to ``high`` and ``points`` (negative is loss, in percentage points, with the interval
    ``points_low`` to ``points_high``) come from labelled inputs of the random stratum alone; intervals
    are 90 %. ``p`` is the exact McNemar test's, Holm-corrected over the rungs. ``cause`` is what to
    name when the verdict is not ok: ``quantization``, ``kernels``, ``delegate``, ``hardware``,
    ``preprocess:<step>``. ``sentence``: what, how many points, what to do. ``compared`` names the rung
    above, None for the first.
    """

    name: str
    verdict: Verdict
    inputs: int
    flips: int
    compared: str | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    points: float | None = None
    points_low: float | None = None
    points_high: float | None = None
    p: float | None = None
    margin_inputs: int = 0
    margin_flips: int = 0
    error: OutputError | None = None
    spoke: tuple[Evidence, ...] = ()
    cause: str | None = None
    sentence: str = ""
    families: tuple[KernelFamily, ...] = ()
    labelled: int | None = None
    units: int | None = None
    latency_ms: float | None = None
    """Median of running the model once on this rung, where it was run here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A flipped input to look at: JPEG or PNG files, base64. ``was`` and ``now`` are labels of the
    outputs before and on ``rung``, ``label`` the truth where known."""

    name: str
    rung: str
    was: str
    now: str
    label: str | None
    training: str
    device: str
    difference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerError:
    """One tensor of the quantized model against its float twin, in the order of execution.

    ``snr_db`` None: nothing differs. ``saturated``: share of the twin's numbers more than a
    step outside what the tensor can hold (for the input: of stored numbers at either end, where that
    is larger). ``calibrated``: the range its scale can hold; ``seen``: the float twin's range on
    golden inputs; both (low, high). ``culprit``: in words, what is wrong with it, or "".
    """

    depth: int
    op: str
    name: str
    snr_db: float | None
    cosine: float
    saturated: float
    calibrated: tuple[float, float] | None
    seen: tuple[float, float]
    culprit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerView:
    """``jump``: the tensor where error grows most. ``findings``: the usual culprits recognised, in
    words, worst first. ``production``: whether the kernels of this view are those that run the model
    in production; ``kernels`` says which ran."""

    layers: tuple[LayerError, ...]
    jump: str | None
    findings: tuple[str, ...]
    production: bool
    kernels: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """``cause`` is None when nothing is to be named. ``origin`` says what the golden tensors prove.
    ``environment``: name and value of what ran here; ``recorded`` of what ran when packing.
    ``notes``: what was not done or cannot be said, one sentence each."""

    bundle: str
    task: str
    verdict: Verdict
    cause: str | None
    sentence: str
    rungs: tuple[Rung, ...]
    origin: Literal["self-made", "recorded", "unknown"]
    environment: tuple[tuple[str, str], ...] = ()
    recorded: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    layers: LayerView | None = None
