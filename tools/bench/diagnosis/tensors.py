"""What is seen in the input tensors themselves: by the diagnosis, and by the baseline."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeAlias

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.golden import GoldenInput
from agent.preprocess.spec import PreprocessSpec, parse
from calibration.rung import tensors as tensor_parity
from calibration.rung.measured import TensorFinding
from tools.bench.diagnosis import mlexray
from tools.bench.diagnosis.classifiers import preprocess_yaml
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.diagnosis.pipelines import BY_KEY, right
from tools.bench.diagnosis.shot import Shot

Asked: TypeAlias = tuple[str, TensorSpec, int]
"""A pipeline's key, the tensor it fills, and the group of draws."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """``baseline``: the causes ML-EXray's assertions accuse."""

    finding: TensorFinding
    baseline: tuple[str, ...]


def see(
    asked: Sequence[Asked],
    heads: Sequence[Sequence[Photograph]],
    *,
    workers: int,
    step: Callable[[], None] = lambda: None,
) -> dict[Asked, Seen]:
    """Every pipeline's tensors of each group's first inputs against the training side's; ``step`` is
    called after each mistake, with all who make it."""
    together: dict[tuple[str, TensorSpec, int], list[Asked]] = {}
    for key in asked:
        together.setdefault((BY_KEY[key[0]].name, *key[1:]), []).append(key)
    chosen = [tuple(heads[group]) for _, _, group in together]
    found: dict[Asked, Seen] = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for keys, seen in zip(together.values(), pool.map(_see, together.values(), chosen), strict=True):
            found |= dict(zip(keys, seen, strict=True))
            step()
    return found


def mistakes(asked: Sequence[Asked]) -> int:
    """How often ``see`` calls its ``step``."""
    return len({(BY_KEY[key].name, tensor, group) for key, tensor, group in asked})


def _see(asked: Sequence[Asked], head: Sequence[Photograph]) -> list[Seen]:
    """Of one mistake by several hands: where these make the very same tensors, one look is enough."""
    looked: dict[bytes, Seen] = {}
    found = []
    for key, tensor, _ in asked:
        pipeline = BY_KEY[key]
        shots = [Shot(given.encoded) for given in head]
        made = [np.ascontiguousarray(pipeline.tensor(shot, tensor)) for shot in shots]
        digest = hashlib.sha256(pipeline.training.encode() + b"".join(array.data for array in made)).digest()
        if digest not in looked:
            wanted = [right(pipeline.training).tensor(shot, tensor) for shot in shots]
            looked[digest] = _look(
                head, made, wanted, parse(preprocess_yaml(pipeline.training, tensor.dtype)), tensor
            )
        found.append(looked[digest])
    return found


def _look(
    head: Sequence[Photograph],
    made: Sequence[Array],
    wanted: Sequence[Array],
    spec: PreprocessSpec,
    tensor: TensorSpec,
) -> Seen:
    differ = [i for i, (a, b) in enumerate(zip(made, wanted, strict=True)) if not np.array_equal(a, b)]
    if not differ:
        return Seen(finding=TensorFinding(within="exact", step=None, sentence=""), baseline=())
    finding = tensor_parity.recognise_by(spec, tensor)(
        [_golden(head[i]) for i in differ], _taken(made, differ), _taken(wanted, differ)
    )
    return Seen(finding=finding, baseline=mlexray.causes(_taken(made, differ), _taken(wanted, differ)))


def _taken(arrays: Sequence[Array], places: Sequence[int]) -> list[Array]:
    return [arrays[place] for place in places]


def _golden(given: Photograph) -> GoldenInput:
    return GoldenInput(name=given.name, encoded=given.encoded, label=given.label, traces=(), outputs=())
