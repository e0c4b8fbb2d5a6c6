"""The whole bench: run everything once, draw golden sets, ask the diagnosis, compare with the truth."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.runtime.choice import Runtime, choose
from tools.bench import figures as output
from tools.bench.diagnosis import factor_costs, page, score
from tools.bench.diagnosis.cases import Case, cases
from tools.bench.diagnosis.classifiers import CLASSIFIERS, Classifier
from tools.bench.diagnosis.conditions import Compared, compared, differences
from tools.bench.diagnosis.draws import Draw, draws
from tools.bench.diagnosis.engines import Engine, ModelFile, model_files
from tools.bench.diagnosis.photographs import Photograph, photographs
from tools.bench.diagnosis.score import Row
from tools.bench.diagnosis.tensors import Asked, Seen, mistakes, see
from tools.bench.diagnosis.truth import Outputs, Work, chunks_of, evaluate, runs, top
from tools.bench.diagnosis.verdicts import Ladder
from tools.bench.figures import Figure
from tools.console import say

SEED = 20_260_102
HEAD = 12
"""Photographs of a golden set whose tensors are compared; draws of one group share them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    pack: Path
    cache: Path
    photographs: int | None = None
    size: int = 64
    groups: int = 3
    draws: int = 16
    workers: int = 2
    classifiers: tuple[Classifier, ...] = CLASSIFIERS


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What all parts of the bench share; ``specs``: each model file's input and output tensor."""

    pictures: tuple[Photograph, ...]
    files: dict[str, ModelFile]
    cases: tuple[Case, ...]
    draws: tuple[Draw, ...]
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @property
    def labels(self) -> Array:
        return np.array([given.label for given in self.pictures])


def run(settings: Settings, *, out: Path, written: Path | None, clock: Callable[[], float]) -> list[Figure]:
    """Returns the figures, printed and written to ``out``; ``written``: a page whose tables are renewed."""
    runtime = choose("auto", cache=None)
    material = prepare(settings, runtime)
    say(f"{len(material.pictures)} photographs, {len(material.cases)} cases, {len(material.draws)} draws")
    wanted = runs(settings.classifiers, material.files)
    work = Work(files=material.files, runtime=runtime, cache=settings.cache)
    outputs = evaluate(
        work,
        material.pictures,
        wanted,
        workers=settings.workers,
        step=_counted("models", chunks_of(material.pictures), clock),
    )
    seen = _seen(settings, material, clock)
    rows = verdicts(settings, material, outputs, seen)
    say(f"{clock():.0f} s: {len(rows)} verdicts")
    alone = factor_costs.single(material.cases, outputs, material.labels, material.draws)
    names = [classifier.name for classifier in settings.classifiers]
    together = factor_costs.compound(names, outputs, material.labels, material.draws)
    measured = [*score.figures(rows), *factor_costs.figures(alone, together)]
    baseline = score.baseline_figures(rows)
    beside = compared(settings.pack, material.pictures, outputs)
    found = [*measured, *baseline, *differences(beside), *_time(clock)]
    _report(settings, rows, beside, found, out=out, written=written)
    return found


def prepare(settings: Settings, runtime: Runtime) -> Material:
    pictures = photographs(settings.pack, settings.photographs)
    files = model_files(settings.pack, pictures, settings.classifiers)
    inputs, outputs = {}, {}
    for name in files:
        runner = Engine(file=name, kernels="builtin").open(files, runtime)
        inputs[name], outputs[name] = runner.input, runner.outputs[0]
        runner.close()
    made = draws(
        len(pictures),
        size=settings.size,
        groups=settings.groups,
        per_group=settings.draws,
        head=min(HEAD, settings.size),
        seed=SEED,
    )
    return Material(
        pictures=pictures,
        files=files,
        cases=cases(settings.classifiers, files),
        draws=made,
        inputs=inputs,
        outputs=outputs,
    )


def verdicts(settings: Settings, material: Material, outputs: Outputs, seen: dict[Asked, Seen]) -> list[Row]:
    """One row for each case and draw; the classifiers side by side."""
    parts = []
    for classifier in settings.classifiers:
        own = [case for case in material.cases if case.classifier == classifier.name]
        needed = _needed(classifier, own, outputs)
        parts.append((material, own, needed, seen))
    with ProcessPoolExecutor(settings.workers, get_context("spawn")) as pool:
        return [row for rows in pool.map(_verdicts, *zip(*parts, strict=True)) for row in rows]


def _verdicts(
    material: Material, own: Sequence[Case], outputs: Outputs, seen: dict[Asked, Seen]
) -> list[Row]:
    ladder = Ladder(outputs, material.outputs, [given.label for given in material.pictures])
    labels, rows = material.labels, []
    for case in own:
        lost = 100.0 * (top(outputs[case.right]) == labels) - 100.0 * (top(outputs[case.wrong]) == labels)
        for draw in material.draws:
            asked = _asked(material, case, draw.group)
            found = None if asked is None else seen[asked]
            rows.append(
                Row(
                    case=case,
                    said=ladder.said(case, draw, found.finding if found else None),
                    cost=float(lost[draw.outside].mean()),
                    cost_all=float(lost.mean()),
                    baseline=found.baseline if found else (),
                )
            )
    return rows


def _needed(classifier: Classifier, own: Sequence[Case], outputs: Outputs) -> Outputs:
    files = {case.file for case in own} | {run[0].file for case in own for run in (case.right, case.wrong)}
    return {run: made for run, made in outputs.items() if run[0].file in files}


def _seen(settings: Settings, material: Material, clock: Callable[[], float]) -> dict[Asked, Seen]:
    asked = dict.fromkeys(
        key
        for case in material.cases
        for group in range(settings.groups)
        if (key := _asked(material, case, group)) is not None
    )
    heads = {draw.group: [material.pictures[place] for place in draw.head] for draw in material.draws}
    say(f"{clock():.0f} s: comparing tensors of {len(asked)} pipelines and groups of inputs")
    return see(
        tuple(asked),
        [heads[group] for group in range(settings.groups)],
        workers=settings.workers,
        step=_counted("tensors", mistakes(tuple(asked)), clock),
    )


def _asked(material: Material, case: Case, group: int) -> Asked | None:
    if case.pipeline is None:
        return None
    given = material.inputs[case.file]
    # Models that take the same numbers share what is seen in them.
    tensor = TensorSpec(
        name="input", shape=given.shape, dtype=given.dtype, scale=given.scale, zero_point=given.zero_point
    )
    return case.pipeline, tensor, group


def _time(clock: Callable[[], float]) -> list[Figure]:
    """Wall-clock and processor time, of this process and its workers."""
    spent = os.times()
    cpu_s = spent.user + spent.system + spent.children_user + spent.children_system
    return [
        Figure(name="time", value=clock() / 60, unit="minutes", target=20.0),
        Figure(name="processor time", value=cpu_s / 60, unit="minutes", detail=f"{os.cpu_count()} cores"),
    ]


def _report(
    settings: Settings,
    rows: Sequence[Row],
    beside: Sequence[Compared],
    found: Sequence[Figure],
    *,
    out: Path,
    written: Path | None,
) -> None:
    output.show("Fault bench", found)
    output.write(
        out,
        found,
        draws=settings.groups * settings.draws,
        golden=settings.size,
        confusion={wanted: dict(counts) for wanted, counts in score.confusion(rows).items()},
        wrong=score.wrong(rows),
        conditions=[asdict(given) for given in beside],
        cpus=os.cpu_count(),
    )
    if written is not None:
        page.write_measured(written, page.measured(_sections(rows, found, beside)))


def _sections(rows: Sequence[Row], found: Sequence[Figure], beside: Sequence[Compared]) -> dict[str, str]:
    return {
        "Figures": page.figure_table(found),
        "Confusion": page.confusion_table(rows),
        "Mistake by mistake": page.fault_table(rows),
        "Costs in the data pack's table / here, in points": page.condition_table(beside),
    }


def _counted(what: str, total: int, clock: Callable[[], float]) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done % max(total // 10, 1) == 0:
            say(f"{clock():.0f} s: {what} {done} of {total}")

    return step
