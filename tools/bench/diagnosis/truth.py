"""Runs every model on every tensor once, and remembers the outputs on disk by what was run.

An output is known by the model file, the kernels, the runtime's version and the tensor's own bytes:
whatever changes in the bench, a remembered output is never a wrong one.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np

from agent.contracts import Array, Runner
from agent.runtime.choice import Runtime
from tools.bench.diagnosis.classifiers import Classifier
from tools.bench.diagnosis.engines import Engine, Kernels, ModelFile
from tools.bench.diagnosis.mixes import MIXES
from tools.bench.diagnosis.model_faults import ALTERED
from tools.bench.diagnosis.noise import NOISE, NOISE_PIPELINES
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.diagnosis.pipelines import BY_KEY, PIPELINES, right
from tools.bench.diagnosis.shot import Shot

Run: TypeAlias = tuple[Engine, str]
"""An engine and the key of a pipeline."""
Outputs: TypeAlias = dict[Run, Array]
"""The raw first output of each run, (photographs, C)."""
Known: TypeAlias = dict[tuple[str, bytes], Array]
_CHUNK = 12
"""Photographs a worker takes at a time."""
CENTRAL, ASPECT = right("central").key, right("aspect").key
_PIPELINES = BY_KEY | NOISE_PIPELINES | MIXES
_MIXED = ("v1 float", "v1 uint8", "v2 uint8", "v1 int8")
"""Classifiers that see every mix of several mistakes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a worker needs to know."""

    files: dict[str, ModelFile]
    runtime: Runtime
    cache: Path


def runs(classifiers: Sequence[Classifier], files: dict[str, ModelFile]) -> tuple[Run, ...]:
    """Everything the bench asks for, without repetition."""
    wanted: list[Run] = []
    for classifier in classifiers:
        engine, slow, plain = (
            _engine(classifier.name, kernels) for kernels in ("auto", "reference", "builtin")
        )
        wanted += [(engine, CENTRAL), (slow, CENTRAL), (plain, CENTRAL)]
        if classifier.alive:
            wanted += [(engine, p.key) for p in PIPELINES if classifier.dtype in p.dtypes]
            wanted += [(plain, ASPECT), (Engine(file=classifier.name, threads=2), CENTRAL)]
            wanted += [(engine, NOISE["aspect"]), (plain, NOISE["aspect"])]
        wanted += [(engine, NOISE["central"]), (plain, NOISE["central"])]
        wanted += [(engine, mix) for mix in MIXES if classifier.name in _MIXED]
    for file in files.values():
        if file.fault:
            engine, plain = _engine(file.name, "auto"), _engine(file.name, "builtin")
            wanted.append((engine, CENTRAL))
            if file.fault not in _ONE_PLACE:
                wanted += [(plain, CENTRAL), (engine, NOISE["central"]), (plain, NOISE["central"])]
            if file.fault in _EVERYWHERE:
                wanted.append((_engine(file.name, "reference"), CENTRAL))
    return tuple(dict.fromkeys(wanted))


def _engine(file: str, kernels: Kernels) -> Engine:
    return Engine(file=file, kernels=kernels)


# Wrong in one place only: the rest of the ladder runs the right file.
_ONE_PLACE = {fault.key for fault in ALTERED if fault.place in ("kernels", "delegate")}
_EVERYWHERE = {fault.key for fault in ALTERED if fault.place == "hardware"}


def evaluate(
    work: Work,
    pictures: Sequence[Photograph],
    wanted: Sequence[Run],
    *,
    workers: int,
    step: Callable[[], None] = lambda: None,
) -> Outputs:
    """The outputs of all ``wanted`` runs; ``step`` is called after each chunk of photographs.
    One worker is this process itself."""
    work.cache.mkdir(parents=True, exist_ok=True)
    chunks = [pictures[at : at + _CHUNK] for at in range(0, len(pictures), _CHUNK)]
    rows: dict[Run, list[Array]] = {run: [] for run in wanted}
    tasks = ([work] * len(chunks), chunks, [tuple(wanted)] * len(chunks))
    with ExitStack() as stack:
        each: Iterable[list[Array]] = map(_evaluate, *tasks)
        if workers > 1:
            each = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn"))).map(
                _evaluate, *tasks
            )
        for made in each:
            for run, outputs in zip(wanted, made, strict=True):
                rows[run].append(outputs)
            step()
    return {run: np.concatenate(found) for run, found in rows.items()}


def chunks_of(pictures: Sequence[Photograph]) -> int:
    return -(-len(pictures) // _CHUNK)


def _evaluate(work: Work, chunk: Sequence[Photograph], wanted: Sequence[Run]) -> list[Array]:
    """One engine after the other, so that few interpreters stand at once: those of the plain
    classifiers, which see every pipeline, stay; the rest see two tensors of a photograph."""
    memory = _Memory(work, chunk)
    shots = [Shot(given.encoded) for given in chunk]
    results: dict[Run, list[Array]] = {run: [] for run in wanted}
    by_pipeline: dict[str, list[Engine]] = {}
    for engine, pipeline in wanted:
        by_pipeline.setdefault(pipeline, []).append(engine)
    for number, shot in enumerate(shots):
        for pipeline, engines in by_pipeline.items():
            made = _PIPELINES[pipeline]
            picture = made.picture(shot)
            for engine in engines:
                tensor = made.values(picture, memory.runner(engine).input)
                results[engine, pipeline].append(memory.outputs(number, engine, tensor))
    memory.save()
    return [np.stack(results[run]) for run in wanted]


_RUNNERS: dict[str, Runner] = {}
"""Of this worker process, by what identifies them: a worker takes many chunks."""


class _Memory:
    """Known outputs of some photographs, and the engines that make the unknown ones."""

    def __init__(self, work: Work, chunk: Sequence[Photograph]) -> None:
        self._work = work
        self._ids: dict[Engine, str] = {}
        self._paths = [work.cache / f"{_hash(given.encoded).hex()}.npz" for given in chunk]
        self._known = [_load(path) for path in self._paths]
        self._fresh = [False] * len(chunk)

    def runner(self, engine: Engine) -> Runner:
        name = self._id(engine)
        if name not in _RUNNERS:
            _RUNNERS[name] = engine.open(self._work.files, self._work.runtime)
        return _RUNNERS[name]

    def outputs(self, number: int, engine: Engine, tensor: Array) -> Array:
        key = (self._id(engine), _hash(np.ascontiguousarray(tensor)))
        known = self._known[number]
        if key not in known:
            known[key] = self.runner(engine).run(np.ascontiguousarray(tensor))[0][0]
            self._fresh[number] = True
        return known[key]

    def save(self) -> None:
        for path, known, fresh in zip(self._paths, self._known, self._fresh, strict=True):
            if fresh:
                _save(path, known)

    def _id(self, engine: Engine) -> str:
        if engine not in self._ids:
            file, runtime = self._work.files[engine.file], self._work.runtime
            made = f"{_hash(file.flatbuffer).hex()} {engine.kernels} {engine.threads} {runtime.version}"
            self._ids[engine] = f"{made} {runtime.name}"
        return self._ids[engine]


def _hash(data: bytes | Array) -> bytes:
    return hashlib.sha256(bytes(data) if isinstance(data, bytes) else data.data).digest()[:12]


def _load(path: Path) -> Known:
    if not path.is_file():
        return {}
    try:
        with np.load(path) as file:
            return {
                (engine, key.tobytes()): row
                for engine in {name[2:] for name in file.files}
                for key, row in zip(file["k:" + engine], file["o:" + engine], strict=True)
            }
    except (OSError, ValueError, KeyError):
        return {}  # cut short when a run was stopped


def _save(path: Path, known: Known) -> None:
    grouped: dict[str, list[tuple[bytes, Array]]] = {}
    for (engine, key), row in known.items():
        grouped.setdefault(engine, []).append((key, row))
    arrays: dict[str, Array] = {}
    for engine, rows in grouped.items():
        arrays["k:" + engine] = np.stack([np.frombuffer(key, np.uint8) for key, _ in rows])
        arrays["o:" + engine] = np.stack([row for _, row in rows])
    unfinished = path.with_suffix(f".{os.getpid()}.npz")  # two benches may run at once
    np.savez(unfinished, **arrays)  # type: ignore[arg-type]
    unfinished.replace(path)


def top(outputs: Array) -> Array:
    """The winning output of each photograph."""
    return np.asarray(outputs.argmax(axis=1))
