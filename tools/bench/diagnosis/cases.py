"""The cases of the bench: what is wrong (or not), with which classifier, and what would be right to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tools.bench.diagnosis.classifiers import Classifier
from tools.bench.diagnosis.engines import Engine, Kernels, ModelFile, bad_data_key
from tools.bench.diagnosis.model_faults import ALTERED, CORRUPTED_BEFORE
from tools.bench.diagnosis.pipelines import PIPELINES, Training
from tools.bench.diagnosis.recalibrated import REPRESENTATIVE
from tools.bench.diagnosis.truth import ASPECT, CENTRAL, Run

Where: TypeAlias = Literal["preprocess", "kernels", "delegate", "hardware", "quantization"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """``right`` and ``wrong`` are the runs whose accuracies, subtracted, are the true cost. ``causes``:
    the right answers, empty for a healthy case. ``where``: the rung on which ``wrong`` stands.
    ``recorded``: the outputs in the bundle, ``file``: the model on the device."""

    classifier: str
    fault: str
    by: str
    where: Where
    causes: tuple[str, ...]
    right: Run
    wrong: Run
    recorded: Run
    file: str
    training: Training = "central"
    pipeline: str | None = None

    @property
    def healthy(self) -> bool:
        return not self.causes


def cases(chosen: Sequence[Classifier], files: dict[str, ModelFile]) -> tuple[Case, ...]:
    names = {classifier.name for classifier in chosen}
    found = [case for classifier in chosen for case in _of(classifier, files)]
    return tuple(case for case in found if case.right[0].file.partition(",")[0] in names)


def _of(classifier: Classifier, files: dict[str, ModelFile]) -> Iterator[Case]:
    if classifier.alive:
        yield from _preparing(classifier)
        yield from _computing(classifier)
        yield from _computing_healthy(classifier)
    yield from _quantized(classifier, files)


def _preparing(classifier: Classifier) -> Iterator[Case]:
    engine = Engine(file=classifier.name)
    for pipeline in PIPELINES:
        if pipeline.name == "trained" or classifier.dtype not in pipeline.dtypes:
            continue
        base = CENTRAL if pipeline.training == "central" else ASPECT
        kernels: Kernels = "reference" if pipeline.training == "central" else "builtin"
        yield Case(
            classifier=classifier.name,
            fault=pipeline.name,
            by=pipeline.by,
            where="preprocess",
            causes=pipeline.causes,
            right=(engine, base),
            wrong=(engine, pipeline.key),
            recorded=(Engine(file=classifier.name, kernels=kernels), base),
            file=classifier.name,
            training=pipeline.training,
            pipeline=pipeline.key,
        )


def _computing(classifier: Classifier) -> Iterator[Case]:
    for fault in ALTERED:
        name = f"{classifier.name}, {fault.key}"
        yield Case(
            classifier=classifier.name,
            fault=fault.name,
            by=fault.by,
            where=fault.place,
            causes=fault.causes,
            right=(Engine(file=classifier.name), CENTRAL),
            wrong=(Engine(file=name), CENTRAL),
            recorded=(Engine(file=classifier.name, kernels="reference"), CENTRAL),
            file=name if fault.place == "hardware" else classifier.name,
        )


def _computing_healthy(classifier: Classifier) -> Iterator[Case]:
    production = Engine(file=classifier.name)
    built_in = Engine(file=classifier.name, kernels="builtin")
    places: tuple[tuple[str, Where, Engine], ...] = (
        ("built-in kernels", "kernels", built_in),
        ("two threads", "kernels", Engine(file=classifier.name, threads=2)),
        ("a delegate that rounds as built-in kernels do", "delegate", built_in),
    )
    for by, where, engine in places:
        yield Case(
            classifier=classifier.name,
            fault="healthy",
            by=by,
            where=where,
            causes=(),
            right=(production, CENTRAL),
            wrong=(engine, CENTRAL),
            recorded=(Engine(file=classifier.name, kernels="reference"), CENTRAL),
            file=classifier.name,
        )


def _quantized(classifier: Classifier, files: dict[str, ModelFile]) -> Iterator[Case]:
    """Against the float twin's recorded outputs; the float classifier is its own, and healthy."""
    twin = classifier.twin or (classifier.name if classifier.dtype == "float32" else None)
    if twin is None:
        return
    keys = [bad_data_key(given.by) for given in REPRESENTATIVE] + [fault.key for fault in CORRUPTED_BEFORE]
    made = [(f"{classifier.name}, {key}", *_parts(key)) for key in keys]
    own = "per-tensor weights" if not classifier.alive else "as delivered"
    made.append((classifier.name, "quantized" if classifier.twin else "healthy", own))
    for name, fault, by in made:
        if name in files:
            yield Case(
                classifier=classifier.name,
                fault=fault,
                by=by,
                where="quantization",
                causes=("quantization",) if classifier.twin else (),
                right=(Engine(file=twin), CENTRAL),
                wrong=(Engine(file=name, kernels="builtin"), CENTRAL),
                recorded=(Engine(file=name, kernels="builtin"), CENTRAL),
                file=name,
            )


def _parts(key: str) -> tuple[str, str]:
    name, _, by = key.partition(" (")
    return name, by.removesuffix(")")
