"""Does the agent give on arm64 what it gives here? ``make test-arm64``; results in build/arm64.json.

Compares, for the demo's models and one of the data pack's where it is there: raw outputs by kernel
family, prepared tensors, the predictions of ``litewatch run`` and the verdict of ``litewatch check``.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from arm64.emulation import TARGETS, Emulated, missing  # noqa: E402  # after the path is set

from agent.contracts import Array, TensorSpec  # noqa: E402
from tools.bench import figures as bench  # noqa: E402
from tools.bench.figures import Figure  # noqa: E402
from tools.bench.scenario import data_pack  # noqa: E402
from tools.console import say  # noqa: E402
from tools.demo import scene  # noqa: E402

SUBJECT = ROOT / "tests/arm64/subject.py"
LITEWATCH = ("-c", "from tools.cli import entry; entry()")
DIGITS, PHOTOGRAPHS, REFERENCE = 120, 4, 240
INT8_STEPS = 3
"""Most quantization steps an 8-bit output may differ by on another architecture's kernels."""
FLOAT_DIFFERENCE = 1e-5
"""Of probabilities."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    name: str
    run: Run


def main() -> int:
    lacking = missing()
    if lacking:
        say(f"skipped: {', '.join(lacking)} not installed")
        return 0
    build = ROOT / "build/arm64"
    build.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        for target in TARGETS:
            emulated = Emulated(target, build)
            emulated.install()
            native = _native(target.runtime)
            if native is None:
                say(f"skipped: {target.name}: no {target.runtime} on this machine to compare with")
                continue
            here, there = Machine(name="x86", run=native), Machine(name=target.name, run=emulated.run)
            figures += compare(here, there, folder)
    bench.show("arm64 under emulation against x86-64", figures)
    bench.write(ROOT / "build/arm64.json", figures)
    return 0 if figures and all(figure.met is not False for figure in figures) else 1


def _native(runtime: str) -> Run | None:
    python = {"ai-edge-litert": sys.executable, "tflite-runtime": str(ROOT / ".venv-tflite/bin/python")}[
        runtime
    ]
    if not Path(python).exists():
        return None

    def run(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [python, *arguments], capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
        )

    return run


def prepare(folder: Path) -> None:
    """Models with tensors beside them, pictures, and a packed bundle with its agent.yaml."""
    rng = np.random.default_rng(11)
    digits = scene.held_out()
    for place, count in (("pictures", DIGITS), ("reference", REFERENCE)):
        (folder / place).mkdir()
        rows = []
        for number, at in enumerate(rng.integers(0, len(digits), count)):
            name = f"{number:05d}.jpg"
            (folder / place / name).write_bytes(scene.jpeg(scene.render(digits.pixels[at], rng)))
            rows.append(f"{place}/{name},{digits.labels[at]}")
        (folder / f"{place}.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    assets = scene.ASSETS
    (folder / "preprocess.yaml").write_bytes((assets / "preprocess.yaml").read_bytes())
    (folder / "digits_int8.tflite").write_bytes((assets / "digits_int8.tflite").read_bytes())
    pack = ["pack", "digits_int8.tflite", "--preprocess", "preprocess.yaml", "--reference", "reference.csv"]
    pack += ["--labels", str(assets / "labels.txt"), "-o", "bundle.tflite"]
    done = subprocess.run([sys.executable, *LITEWATCH, *pack], cwd=folder, env={"PYTHONPATH": str(ROOT)})
    done.check_returncode()
    _write_models(folder / "models", rng)
    document = {
        "device": {"id": "arm64", "state_dir": str(folder / "state")},
        "model": {"bundle": "bundle.tflite"},
        "source": {"kind": "directory", "path": "pictures"},
        "monitor": {"sample_every": 1, "window": {"samples": 20}},
    }
    (folder / "agent.yaml").write_text(yaml.safe_dump(document))


def _write_models(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    from agent.runtime.choice import choose
    from agent.runtime.cpu import Cpu
    from agent.runtime.interpreter import open_runner

    models = [scene.ASSETS / "digits_int8.tflite", scene.ASSETS / "digits_float.tflite"]
    pack = data_pack()
    models += [pack / "models" / "mobilenet_v1_0.25_224_quant.tflite"] if pack else []
    for model in models:
        content = model.read_bytes()
        (folder / model.name).write_bytes(content)
        runner = open_runner(Cpu(), content, runtime=choose("auto", cache=None), threads=1)
        count = PHOTOGRAPHS if model.parent.name == "models" else DIGITS
        np.save(folder / f"{model.stem}.npy", _tensors(runner.input, count, rng))


def _tensors(spec: TensorSpec, count: int, rng: np.random.Generator) -> Array:
    """Noise that is smooth like a picture: every value of the input's range occurs."""
    shape = (count, *spec.shape)
    if spec.dtype == "float32":
        return np.cumsum(rng.normal(0, 0.05, shape), axis=2).clip(-1, 1).astype(np.float32)
    info = np.iinfo(spec.dtype)
    walk = np.cumsum(rng.normal(0, 20, shape), axis=2)
    return walk.clip(info.min, info.max).astype(spec.dtype)


def compare(here: Machine, there: Machine, folder: Path) -> list[Figure]:
    told = json.loads(_checked(there.run([str(SUBJECT), "versions", str(folder)]), there))
    say(f"{there.name}: {told}")
    name = f"{told['machine']} Python {told['python']} {told['runtime']}"
    return [
        *_outputs(here, there, folder, name),
        _prepared(here, there, folder, name),
        _predictions(here, there, folder, name),
        _ladder(there, folder, name),
    ]


def _outputs(here: Machine, there: Machine, folder: Path, name: str) -> list[Figure]:
    ours, theirs = (_saved(machine, "outputs", folder / "models", folder) for machine in (here, there))
    figures = []
    for key in sorted(ours):
        if key.endswith("/kernels"):
            continue
        a, b = ours[key], theirs[key]
        flips = int((a.argmax(1) != b.argmax(1)).sum())
        kernels = str(theirs[f"{key}/kernels"])
        limit = _limit(a, key.rpartition("/")[2], kernels, name)
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
        figures.append(
            Figure(
                name=f"{name}: {key} ({kernels}): largest difference",
                value=float(difference.max()),
                unit="steps" if a.dtype.kind in "iu" else "",
                target=limit,
                detail=f"{int((difference > 0).sum())} of {a.size} outputs differ, {flips} top-1 of {len(a)}",
            )
        )
    return figures


def _limit(outputs: Array, family: str, kernels: str, name: str) -> float | None:
    """The most an output may differ by; None where nothing is promised: litert's built-in integer kernels
    round otherwise on arm64 than on x86-64, and each is as right as the other."""
    if outputs.dtype.kind not in "iu":
        return FLOAT_DIFFERENCE
    if family == "reference" or "tflite-runtime" in name:
        return 0.0
    return INT8_STEPS if kernels == "xnnpack" else None


def _prepared(here: Machine, there: Machine, folder: Path, name: str) -> Figure:
    a, b = (_saved(machine, "tensors", folder, folder)["tensors"] for machine in (here, there))
    difference = np.abs(a.astype(np.int32) - b.astype(np.int32))
    return Figure(
        name=f"{name}: prepared tensors: largest difference",
        value=float(difference.max()),
        unit="steps",
        target=1.0,
        detail=f"{int((difference > 0).sum())} of {a.size} values differ",
    )


def _predictions(here: Machine, there: Machine, folder: Path, name: str) -> Figure:
    tops = []
    for machine in (here, there):
        said = _checked(
            machine.run([*LITEWATCH, "run", "-c", str(folder / "agent.yaml"), "--print"]), machine
        )
        tops.append([json.loads(line)["top"] for line in said.splitlines()])
    differing = sum(a != b for a, b in zip(*tops, strict=True))
    return Figure(
        name=f"{name}: litewatch run: predictions that differ",
        value=differing,
        unit=f"of {len(tops[0])}",
        target=0.0,
    )


def _ladder(there: Machine, folder: Path, name: str) -> Figure:
    done = there.run([*LITEWATCH, "check", str(folder / "bundle.tflite"), "--json"])
    result = json.loads(_checked(done, there))
    return Figure(
        name=f"{name}: litewatch check: harmful rungs",
        value=sum(rung["verdict"] == "harmful" for rung in result["rungs"]),
        unit=f"of {len(result['rungs'])}",
        target=0.0,
        detail=f"verdict {result['verdict']}: "
        + ", ".join(f"{rung['name']} {rung['verdict']}" for rung in result["rungs"]),
    )


def _saved(machine: Machine, task: str, folder: Path, scratch: Path) -> dict[str, Array]:
    out = scratch / f"{machine.name}-{task}.npz"
    _checked(machine.run([str(SUBJECT), task, str(folder), str(out)]), machine)
    with np.load(out) as saved:
        return dict(saved)


def _checked(done: "subprocess.CompletedProcess[str]", machine: Machine) -> str:
    if done.returncode != 0:
        raise SystemExit(f"{machine.name}: exit status {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
