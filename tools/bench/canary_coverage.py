"""``python -m tools.bench.canary_coverage``: which flipped bits of the weights does the canary notice?

Memory and flash fail one bit at a time. Random single bits of a real model's convolution weights are
flipped, one at a time, and each altered model is run: 8 golden tensors are compared with the healthy
model's answers as the canary compares them, and the top class of other photographs says whether the
flip matters. Bench and canary share the comparison alone.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from agent.contracts import Array, Runner
from agent.errors import LitewatchError, MachineError
from agent.monitor.accuracy import wilson
from agent.monitor.canary import difference
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import parse
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from tools.bench.diagnosis.classifiers import BY_NAME, preprocess_yaml
from tools.bench.diagnosis.flatbuffer_edit import Editable
from tools.bench.diagnosis.photographs import photographs
from tools.bench.figures import Figure, show, write
from tools.bench.scenario import data_pack, places
from tools.console import say

CANARIES = 8
MODELS = ("v2 uint8", "v1 uint8", "v1 int8", "v1 float")
TARGET = 95.0
"""Percent of the flips that matter."""


@dataclass(slots=True)
class Tally:
    """``inputs``: how many of the canary inputs noticed a flip, for every flip that any noticed."""

    flips: int = 0
    noticed: int = 0
    matter: int = 0
    both: int = 0
    inputs: list[int] = field(default_factory=list)

    def add(self, inputs: int, matters: bool) -> None:
        self.flips += 1
        self.noticed += inputs > 0
        self.matter += matters
        self.both += matters and inputs > 0
        if inputs:
            self.inputs.append(inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Healthy:
    """What the model as it is answers."""

    golden: tuple[Array, ...]
    answers: tuple[tuple[Array, ...], ...]
    judged: tuple[Array, ...]
    tops: tuple[int, ...]


def weight_bits(model: Editable) -> list[tuple[int, int]]:
    """(tensor, bits in it) of all convolutions' weights."""
    tensors = dict.fromkeys(found.inputs[1] for found in model.convolutions())
    return [(tensor, model.numbers(tensor).nbytes * 8) for tensor in tensors]


def flipped(flatbuffer: bytes, flips: int, seed: int) -> Iterator[bytes]:
    """The model with one random bit of its weights flipped, a new one every time."""
    model = Editable(flatbuffer)
    bits = weight_bits(model)
    ends = np.cumsum([count for _, count in bits])
    for chosen in np.random.default_rng(seed).integers(0, ends[-1], flips):
        place = int(np.searchsorted(ends, chosen, side="right"))
        within = int(chosen) - int(ends[place]) + bits[place][1]
        stored = model.numbers(bits[place][0]).view(np.uint8)
        stored[within // 8] ^= 1 << within % 8
        yield bytes(model)
        stored[within // 8] ^= 1 << within % 8


def measure(flatbuffer: bytes, healthy: Healthy, runtime: Runtime, *, flips: int, seed: int) -> Tally:
    tally = Tally()
    for altered in flipped(flatbuffer, flips, seed):
        runner = open_runner(Cpu(), altered, runtime=runtime, threads=1)
        pairs = zip(healthy.golden, healthy.answers, strict=True)
        noticed = sum(
            difference(was, runner.run(tensor), runner.outputs) is not None for tensor, was in pairs
        )
        tally.add(noticed, _matters(runner, healthy))
        runner.close()
    return tally


def _matters(runner: Runner, healthy: Healthy) -> bool:
    pairs = zip(healthy.judged, healthy.tops, strict=True)
    return any(_top(runner, tensor) != top for tensor, top in pairs)


def _top(runner: Runner, tensor: Array) -> int:
    """Quantization keeps the order of the scores. NaN is a top of its own."""
    return int(np.argmax(runner.run(tensor)[0]))


def healthy_answers(name: str, pack: Path, runtime: Runtime, *, judged: int) -> Healthy:
    """Canary inputs spread evenly over the photographs, the others judge."""
    classifier = BY_NAME[name]
    runner = open_runner(Cpu(), classifier.flatbuffer(pack), runtime=runtime, threads=1)
    compiled = compile_spec(parse(preprocess_yaml("central", classifier.dtype), where=name), runner.input)
    shots = photographs(pack, CANARIES + judged)
    tensors = [compiled(shot.encoded).tensor.copy() for shot in shots]
    chosen = {number * len(tensors) // CANARIES for number in range(CANARIES)}
    golden = tuple(tensor for number, tensor in enumerate(tensors) if number in chosen)
    others = tuple(tensor for number, tensor in enumerate(tensors) if number not in chosen)
    healthy = Healthy(
        golden=golden,
        answers=tuple(runner.run(tensor) for tensor in golden),
        judged=others,
        tops=tuple(_top(runner, tensor) for tensor in others),
    )
    runner.close()
    return healthy


def figures_of(name: str, tally: Tally) -> Iterator[Figure]:
    low, high = wilson(tally.both, tally.matter) if tally.matter else (0.0, 1.0)
    yield Figure(
        name=f"{name}: flips that change a top class, noticed",
        value=100 * tally.both / tally.matter if tally.matter else 100.0,
        unit="%",
        target=TARGET if tally.matter else None,
        bound="at least",
        detail=f"{tally.both} of {tally.matter}; 90 % interval {100 * low:.1f} to {100 * high:.1f} %",
    )
    yield Figure(
        name=f"{name}: all flips noticed",
        value=100 * tally.noticed / tally.flips,
        unit="%",
        detail=f"{tally.noticed} of {tally.flips}; where noticed, "
        f"{np.mean(tally.inputs) if tally.inputs else 0:.1f} of {CANARIES} inputs tell",
    )


@click.command()
@click.option("--out", default="build/bench-canary.json", type=click.Path(path_type=Path), show_default=True)
@click.option("--flips", default=300, show_default=True, help="Of each small model; a quarter for v2.")
@click.option("--photographs", "judged", default=120, show_default=True, help="That judge what matters.")
@click.option("--seed", default=1, show_default=True)
def main(out: Path, flips: int, judged: int, seed: int) -> None:
    """Flip single bits of real models' weights and count which the canary notices.

    Exit status 1: a figure missed its target.
    """
    pack = data_pack()
    if pack is None:
        raise MachineError(f"no data pack in {', '.join(map(str, places()))}: set LITEWATCH_DATA")
    runtime = choose("auto", cache=None)
    found: list[Figure] = []
    for name in MODELS:
        begin = time.monotonic()
        healthy = healthy_answers(name, pack, runtime, judged=judged)
        count = max(1, flips // 4) if name == "v2 uint8" else flips
        tally = measure(BY_NAME[name].flatbuffer(pack), healthy, runtime, flips=count, seed=seed)
        found += figures_of(name, tally)
        say(f"{name}: {count} flips in {time.monotonic() - begin:.0f} s")
    write(out, found, runtime=f"{runtime.name} {runtime.version}")
    show("canary coverage", found)
    if any(figure.met is False for figure in found):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except LitewatchError as error:
        say(str(error))
        sys.exit(error.exit_code)
