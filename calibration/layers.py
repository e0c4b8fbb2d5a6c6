"""Where in the network a quantized model leaves its float twin, tensor by tensor, and why.

Both models run on the same inputs with every tensor kept. That is not how production runs them:
``LayerView.production`` and ``kernels`` say what ran here and how far its outputs are from those of
the kernels in use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agent.contracts import Array, Payload, Runner, RunnerInfo, TensorSpec
from agent.errors import BundleError, InputError
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.values import Cast
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration.check_result import LayerError, LayerView
from calibration.layer.alignment import Alignment, align
from calibration.layer.culprits import drop_db, find
from calibration.layer.finding import Finding
from calibration.layer.graph import Graph, read_graph
from calibration.layer.intermediates import Intermediates, ViewKernels
from calibration.layer.measures import Measure, Summing
from calibration.layer.weights import measure_weights

JUMP_DB = 3.0
"""A smaller loss at one tensor is no jump: the error grows evenly."""
HEADINGS = ("#", "operator", "tensor", "SNR dB", "cosine", "saturated", "calibrated", "seen", "")
_LONGEST_NAME = 40
EXACT_DB = 60.0
"""What stands for no noise at all: about that of 8-bit numbers that use their range fully."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotPoint:
    """``snr_db`` between -10 and 60: beyond that a picture shows no more; an exact tensor is at 60."""

    depth: int
    label: str
    snr_db: float
    jump: bool
    accused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDrop:
    """``float_name``: of the tensor in the float model, whole."""

    op: str
    float_name: str
    drop_db: float


def view(
    flatbuffer: bytes,
    float_model: bytes,
    tensors: Sequence[Array],
    *,
    runtime: Runtime,
    real: Sequence[Array] | None = None,
    production: Runner | None = None,
    kernels: ViewKernels = "builtin",
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> LayerView:
    """Compare the two models on ``tensors`` (each exactly the quantized model's input).

    The float twin gets those numbers dequantized, or ``real``: the same inputs as real numbers that no
    8-bit range has cut (the training preprocessing's, float32), which alone show for certain that the
    input itself was calibrated wrongly. ``production`` is what runs the model in use; without it, this
    CPU's default kernels. 16 to 32 inputs are enough; ``progress`` is told how many are done, of how many.

    Raises InputError (BundleError) when the models are not twins, cannot be run, or there are no inputs.
    """
    if not tensors or (real is not None and len(real) != len(tensors)):
        raise InputError(f"layers: expected inputs, got {len(tensors)} and {len(real or ())} as real numbers")
    ours = read_graph(flatbuffer, where="model")
    theirs = read_graph(float_model, where="float model")
    aligned = align(ours, theirs)
    here = Intermediates(flatbuffer, where="model", runtime=runtime, kernels=kernels, threads=threads)
    twin = Intermediates(float_model, where="float model", runtime=runtime, threads=threads)
    in_use = production or open_runner(Cpu(), flatbuffer, runtime=runtime, threads=threads)
    agreement = _Agreement()
    sums = [Summing(pair, ours.tensors[pair.quantized]) for pair in aligned.pairs]
    wanted = sorted({*(pair.quantized for pair in aligned.pairs), *ours.outputs})
    for number, tensor in enumerate(tensors):
        source = ours.tensors[ours.inputs[0]].dequantized(tensor) if real is None else real[number]
        mine = here.run(tensor, wanted)
        his = twin.run(_shaped(source, twin.shape), sorted({pair.float for pair in aligned.pairs}))
        for one, pair in zip(sums, aligned.pairs, strict=True):
            one.add(his[pair.float], mine[pair.quantized])
        agreement.add([mine[output] for output in ours.outputs], in_use.run(tensor))
        if progress is not None:
            progress(number + 1, len(tensors))
    measures = [one.measure() for one in sums]
    findings = find(measures, measure_weights(aligned.pairs, ours, theirs), real=real is not None)
    info = in_use.info
    if production is None:
        in_use.close()
    return LayerView(
        layers=_layers(measures, findings),
        jump=jump(measures),
        findings=(*(one.sentence for one in findings), *_unpaired(aligned, ours)),
        production=_same_kernels(info, kernels),
        kernels=_said(info, runtime, kernels, agreement),
    )


def drops(
    flatbuffer: bytes, float_model: bytes, tensors: Sequence[Array], *, runtime: Runtime
) -> tuple[LayerDrop, ...]:
    """Where the signal-to-noise ratio falls, tensor by tensor: unlike ``view``'s jump against the worst of
    what each is made from at full scale, so that good layers can be told apart too.

    Raises InputError (BundleError) as ``view`` does.
    """
    ours = read_graph(flatbuffer, where="model")
    theirs = read_graph(float_model, where="float model")
    pairs = align(ours, theirs).pairs
    here = Intermediates(flatbuffer, where="model", runtime=runtime, kernels="builtin", threads=1)
    twin = Intermediates(float_model, where="float model", runtime=runtime, threads=1)
    sums = [Summing(pair, ours.tensors[pair.quantized]) for pair in pairs]
    for tensor in tensors:
        source = ours.tensors[ours.inputs[0]].dequantized(tensor)
        mine = here.run(tensor, sorted({pair.quantized for pair in pairs}))
        his = twin.run(_shaped(source, twin.shape), sorted({pair.float for pair in pairs}))
        for one, pair in zip(sums, pairs, strict=True):
            one.add(his[pair.float], mine[pair.quantized])
    snrs = [_snr_db(one.measure()) for one in sums]
    return tuple(
        LayerDrop(
            op=pair.op,
            float_name=theirs.tensors[pair.float].name,
            drop_db=min((snrs[before] for before in pair.after), default=EXACT_DB) - snr,
        )
        for pair, snr in zip(pairs, snrs, strict=True)
    )


def _snr_db(measure: Measure) -> float:
    if measure.snr_db is None or measure.signal == 0:
        return EXACT_DB
    return min(measure.snr_db, EXACT_DB)


def real_inputs(
    spec: PreprocessSpec, tensor: TensorSpec, payloads: Sequence[Payload]
) -> tuple[Array, ...] | None:
    """What ``view`` takes as ``real``: ``payloads`` prepared by ``spec`` up to, but without, the rounding
    to ``tensor``. None where that is not known: the spec hands on bytes as they are, and only the tensor's
    own scale says what they mean, or the model takes real numbers anyway. Raises FrameError."""
    cast = spec.steps[-1]
    if not tensor.quantized or not isinstance(cast, Cast) or cast.mode != "quantize":
        return None
    compiled = compile_spec(spec, TensorSpec(name=tensor.name, shape=tensor.shape, dtype="float32"))
    return tuple(compiled(payload).tensor for payload in payloads)


def jump(measures: Sequence[Measure]) -> str | None:
    """The tensor at which most decibels are lost against the worst it is made from; None where no
    tensor loses ``JUMP_DB``."""
    drops = [drop_db(measures, i) for i in range(len(measures))]
    worst = int(np.argmax(drops))
    return measures[worst].name if drops[worst] >= JUMP_DB else None


def table(shown: LayerView) -> tuple[tuple[str, ...], ...]:
    """One row per tensor for a terminal, under ``HEADINGS``; the last column says what is wrong there."""
    return tuple(
        (
            str(one.depth),
            one.op,
            one.name if len(one.name) <= _LONGEST_NAME else "…" + one.name[1 - _LONGEST_NAME :],
            "exact" if one.snr_db is None else f"{one.snr_db:.1f}",
            f"{one.cosine:.4f}",
            f"{one.saturated:.2%}",
            "" if one.calibrated is None else f"{one.calibrated[0]:.3g} to {one.calibrated[1]:.3g}",
            f"{one.seen[0]:.3g} to {one.seen[1]:.3g}",
            one.culprit or ("error grows most here" if one.name == shown.jump else ""),
        )
        for one in shown.layers
    )


def plot_points(shown: LayerView) -> tuple[PlotPoint, ...]:
    """The signal-to-noise ratio over depth."""
    return tuple(
        PlotPoint(
            depth=one.depth,
            label=f"{one.op} {one.name}",
            snr_db=60.0 if one.snr_db is None else min(max(one.snr_db, -10.0), 60.0),
            jump=one.name == shown.jump,
            accused=bool(one.culprit),
        )
        for one in shown.layers
    )


def _layers(measures: Sequence[Measure], findings: Sequence[Finding]) -> tuple[LayerError, ...]:
    said: dict[int, list[str]] = {}
    for finding in findings:
        for position, words in finding.tensors:
            said.setdefault(position, []).append(words)
    return tuple(
        LayerError(
            depth=depth,
            op=one.pair.op,
            name=one.name,
            snr_db=one.snr_db,
            cosine=one.cosine,
            saturated=one.saturated,
            calibrated=one.calibrated,
            seen=one.seen,
            culprit="; ".join(said.get(depth, ())),
        )
        for depth, one in enumerate(measures)
    )


def _shaped(source: Array, shape: tuple[int, ...]) -> Array:
    if source.size != int(np.prod(shape)):
        raise BundleError(f"float model: its input is {shape}, the inputs have {source.shape}")
    return source.astype(np.float32).reshape(shape)


def _unpaired(aligned: Alignment, ours: Graph) -> tuple[str, ...]:
    """Said only where much is missing from the view: converters add and drop a reshape or a padding."""
    total = len(aligned.pairs) + len(aligned.unpaired)
    if len(aligned.unpaired) * 5 <= total:
        return ()
    return (
        f"{len(aligned.unpaired)} of the model's {total} tensors have no counterpart in the float model, "
        "so what happens there is not shown.",
    )


class _Agreement:
    """Of the view's outputs with production's: numbers equal, and the largest difference in steps."""

    def __init__(self) -> None:
        self.numbers = self.equal = 0
        self.largest = 0.0

    def add(self, here: Sequence[Array], there: Sequence[Array]) -> None:
        for one, other in zip(here, there, strict=True):
            if one.shape != other.shape:
                continue
            self.numbers += one.size
            self.equal += int(np.count_nonzero(one == other))
            difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
            self.largest = max(self.largest, float(np.nanmax(difference, initial=0.0)))


def _same_kernels(info: RunnerInfo, kernels: ViewKernels) -> bool:
    """Only where it is known that production leaves every operator to the kernels of this view."""
    return (
        info.delegate == "cpu" and info.ops_total > 0 and info.ops_delegated == 0 and info.kernels == kernels
    )


def _said(info: RunnerInfo, runtime: Runtime, kernels: ViewKernels, agreement: _Agreement) -> str:
    names = {"builtin": "the built-in kernels", "reference": "the reference kernels"}
    here = f"{names[kernels]} of {runtime.name} {runtime.version}, every tensor kept"
    if agreement.equal == agreement.numbers:
        same = "the outputs of both are equal, number by number"
    else:
        share = agreement.equal / max(agreement.numbers, 1)
        same = f"{share:.1%} of the outputs' numbers are equal, at most {agreement.largest:.3g} apart"
    if _same_kernels(info, kernels):
        return f"{here}; production runs the same kernels; {same}"
    taken = f", which takes {info.ops_delegated} of {info.ops_total} operators" if info.ops_delegated else ""
    who = info.kernels if info.delegate == "cpu" else f"delegate {info.delegate}"
    return f"{here}; production runs {who}{taken}, so a layer there may differ from this view; {same}"
