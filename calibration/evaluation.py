"""Runs one model over the same inputs under many preprocessing specs, and remembers the answers.

Decoding is shared by all specs, answers are kept by the spec's fingerprint and the input, and specs
that make the same tensor of an input run the model once. Inputs are told by their place in
``payloads``. Nothing here draws, reads files or prints.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.contracts import (
    Array,
    Classification,
    Decoder,
    Payload,
    Prediction,
    Regression,
    TensorSpec,
)
from agent.errors import FrameError
from agent.preprocess.compiled import Compiled, compile_spec
from agent.preprocess.decoding import Decode
from agent.preprocess.spec import PreprocessSpec, fingerprint

DECODED_BYTES: Final = 256 * 2**20
"""Of decoded pixels that are kept; what lies beyond is decoded anew each time."""
LEAST_LIKELY: Final = 1e-6
"""A score below this counts as this much, so that one sure mistake does not outweigh all else."""


class Model(Protocol):
    """What can be evaluated: a ``contracts.Runner``, or ``FloatModel`` around a float twin."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, tensor: Array) -> tuple[Array, ...]: ...


class Twin(Protocol):
    """A float twin: takes the quantized model's input tensor, gives real numbers."""

    def run(self, tensor: Array) -> tuple[Array, ...]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatModel:
    """A float twin in the place of the quantized model ``like``: same inputs, outputs not quantized."""

    twin: Twin
    like: Model

    @property
    def input(self) -> TensorSpec:
        return self.like.input

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=spec.name, shape=spec.shape, dtype="float32") for spec in self.like.outputs
        )

    def run(self, tensor: Array) -> tuple[Array, ...]:
        return self.twin.run(tensor)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One input's answer under one spec.

    ``right`` and ``log_likelihood`` (natural logarithm) speak of the label: None and NaN without
    one. ``top`` and ``confidence`` are a classifier's winning output and its score. ``scores``
    float32 (C,) where they are kept. ``refused``: the preprocessing could not take the input; it
    then counts as wrong.
    """

    right: bool | None
    log_likelihood: float
    top: int = -1
    confidence: float = 0.0
    prediction: Prediction | None = None
    scores: NDArray[np.float32] | None = None
    refused: bool = False


class Decoded:
    """Encoded inputs with their pixels, decoded once while they fit in ``most_bytes``.

    One may serve several evaluations over the same inputs.
    """

    __slots__ = ("_kept", "_room", "payloads")

    def __init__(self, payloads: Sequence[Payload], *, most_bytes: int = DECODED_BYTES) -> None:
        self.payloads = payloads
        self._room = most_bytes
        self._kept: dict[tuple[int, Decode], Array] = {}

    def __len__(self) -> int:
        return len(self.payloads)

    def get(self, index: int, decode: Decode | None) -> Payload:
        """The payload behind ``decode`` (None: as it is). Raises FrameError for a damaged file."""
        if decode is None:
            return self.payloads[index]
        key = (index, decode)
        if key in self._kept:
            return self._kept[key]
        pixels = decode.apply(self.payloads[index])
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[key] = pixels
        return pixels


class Evaluation:
    """One model and its decoder over labelled inputs (label None: not known).

    ``labels``: output index, or true value for a regression, where an error of at most
    ``tolerance`` (the model's units) is right. With ``keep_scores`` every answer keeps its scores.
    """

    def __init__(
        self,
        model: Model,
        decoder: Decoder,
        payloads: Sequence[Payload] | Decoded,
        labels: Sequence[int | float | None],
        *,
        tolerance: float | None = None,
        keep_scores: bool = False,
    ) -> None:
        self.model = model
        self.decoder = decoder
        self.inputs = payloads if isinstance(payloads, Decoded) else Decoded(payloads)
        self.labels = tuple(labels)
        if len(self.labels) != len(self.inputs):
            raise ValueError(f"{len(self.inputs)} inputs, {len(self.labels)} labels")
        self._tolerance = tolerance
        self._keep_scores = keep_scores
        self._specs: dict[PreprocessSpec, tuple[str, Compiled]] = {}
        self._answers: dict[tuple[str, int], Answer] = {}
        self._by_tensor: dict[tuple[bytes, int], Answer] = {}
        self.invokes = 0
        """How often the model was run."""

    def __len__(self) -> int:
        return len(self.inputs)

    def answer(self, spec: PreprocessSpec, index: int) -> Answer:
        """What the model answers to input ``index`` under ``spec``. Raises SpecError when the spec
        cannot fill the model's input."""
        identity, compiled = self._compiled(spec)
        key = (identity, index)
        if key not in self._answers:
            self._answers[key] = self._answer(spec, compiled, index)
        return self._answers[key]

    def answers(self, spec: PreprocessSpec, chosen: Sequence[int] | None = None) -> tuple[Answer, ...]:
        """One answer for each input of ``chosen`` (default: all), in that order."""
        return tuple(self.answer(spec, index) for index in self._chosen(chosen))

    def right(self, spec: PreprocessSpec, chosen: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Whether each answer is the label's. Raises ValueError where an input has no label."""
        found = [answer.right for answer in self.answers(spec, chosen)]
        if None in found:
            raise ValueError("an input without a label is neither right nor wrong")
        return np.array(found, np.bool_)

    def log_likelihood(
        self, spec: PreprocessSpec, chosen: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        """Logarithm of the label's score, at least ``log(LEAST_LIKELY)``; NaN without a label."""
        return np.array([answer.log_likelihood for answer in self.answers(spec, chosen)], np.float64)

    def tops(self, spec: PreprocessSpec, chosen: Sequence[int] | None = None) -> NDArray[np.int64]:
        """A classifier's winning outputs; -1 where the input was refused."""
        return np.array([answer.top for answer in self.answers(spec, chosen)], np.int64)

    def confidence(self, spec: PreprocessSpec, chosen: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Scores of the winning outputs; 0 where the input was refused."""
        return np.array([answer.confidence for answer in self.answers(spec, chosen)], np.float64)

    def scores(self, spec: PreprocessSpec, chosen: Sequence[int] | None = None) -> NDArray[np.float32]:
        """A classifier's scores (n, C), zeros where refused. Needs ``keep_scores``."""
        if not self._keep_scores:
            raise ValueError("scores are kept only with keep_scores=True")
        found = [answer.scores for answer in self.answers(spec, chosen)]
        width = next((row.size for row in found if row is not None), 0)
        empty = np.zeros(width, np.float32)
        return np.array([empty if row is None else row for row in found], np.float32).reshape(-1, width)

    def prefetch(
        self,
        specs: Iterable[PreprocessSpec],
        chosen: Sequence[int] | None = None,
        *,
        advance: Callable[[], None] | None = None,
    ) -> None:
        """Answer all ``specs``, input by input, so that each is decoded once however many there are;
        ``advance`` is called once per input and spec."""
        wanted = tuple(specs)
        for index in self._chosen(chosen):
            for spec in wanted:
                self.answer(spec, index)
                if advance is not None:
                    advance()

    def _chosen(self, chosen: Sequence[int] | None) -> Sequence[int]:
        return range(len(self.inputs)) if chosen is None else chosen

    def _compiled(self, spec: PreprocessSpec) -> tuple[str, Compiled]:
        if spec not in self._specs:
            self._specs[spec] = (fingerprint(spec), compile_spec(spec, self.model.input))
        return self._specs[spec]

    def _answer(self, spec: PreprocessSpec, compiled: Compiled, index: int) -> Answer:
        decode = next((step for step in spec.steps if isinstance(step, Decode)), None)
        label = self.labels[index]
        try:
            tensor = compiled(self.inputs.get(index, decode)).tensor
            seen = (hashlib.blake2b(tensor.data, digest_size=16).digest(), index)
            if seen not in self._by_tensor:
                self.invokes += 1
                prediction = self.decoder.decode(self.model.run(tensor), self.model.outputs)
                self._by_tensor[seen] = self._judged(prediction, label)
            return self._by_tensor[seen]
        except FrameError:
            known = label is not None
            return Answer(
                right=False if known else None,
                log_likelihood=math.log(LEAST_LIKELY) if known else math.nan,
                refused=True,
            )

    def _judged(self, prediction: Prediction, label: int | float | None) -> Answer:
        if isinstance(prediction, Classification):
            return Answer(
                right=None if label is None else prediction.top == label,
                log_likelihood=_log_score(prediction.scores, label),
                top=prediction.top,
                confidence=prediction.score,
                scores=prediction.scores if self._keep_scores else None,
            )
        if isinstance(prediction, Regression) and label is not None and self._tolerance is not None:
            error = float(np.abs(prediction.values - label).max()) / self._tolerance
            return Answer(
                right=error <= 1,
                log_likelihood=max(-error * error / 2, math.log(LEAST_LIKELY)),
                prediction=prediction,
            )
        return Answer(right=None, log_likelihood=math.nan, prediction=prediction)


def _log_score(scores: NDArray[np.float32], label: int | float | None) -> float:
    """Scores of 8-bit models are whole steps and may be 0: see ``LEAST_LIKELY``."""
    if label is None:
        return math.nan
    return math.log(max(float(scores[int(label)]), LEAST_LIKELY))
