"""The stand-in for an Edge TPU: a delegate in C that both runtimes load, and a bundle for it.

``build`` compiles ``standin/delegate.c``, whose opening comment lists the options that break it. A
running one is broken and healed through a file: ``switch=PATH`` holding ``ok``, ``fail``, ``hang``,
``segfault``, ``wrong``, ``off_by_one`` or ``absent``. Counting (``fail_after=N``) begins with the trial
run of opening, which is invoke 0.
"""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import bundles
import pytest
import tiny

from agent.runtime.child import ChildRunner
from agent.runtime.edgetpu import EdgeTpu
from agent.runtime.external import External

FOLDER = Path(__file__).resolve().parent / "standin"
SOURCE = FOLDER / "delegate.c"
CLASSIFIER_TWIN = tiny.EDGETPU
"""``tiny.CLASSIFIER`` for the Edge TPU: the stand-in computes what the reference kernels do, to the
last bit (the CPU's others round a tie otherwise, for one picture of noise in 300)."""


def model(name: str) -> bytes:
    """A twin of a tiny model whose one operator is ``edgetpu-custom-op``: linear, detector, relu."""
    return (FOLDER / f"{name}.tflite").read_bytes()


def build(folder: Path, *, compiler: str = "cc") -> Path:
    """The shared library, made in ``folder``; skips the test where there is no C compiler."""
    found = shutil.which(compiler)
    if found is None:
        pytest.skip(f"skipped: no C compiler ({compiler})")
    library = folder / "libstandin.so"
    command = [found, "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-lm"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return library


@cache
def library() -> Path:
    """``build``, once for this process, in a folder that goes with it."""
    return build(Path(_folder().name))


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="litewatch-standin-")


def external(library: Path, **options: str | int | float | bool) -> External:
    """The stand-in as ``delegate: external`` over the bundle's Edge TPU twin."""
    return External(library=str(library), options=options, model="edgetpu")


def edgetpu(library: Path) -> EdgeTpu:
    """The stand-in as ``delegate: edgetpu``, which knows no options that break it."""
    return EdgeTpu(library=str(library))


def as_yaml(library: Path, **options: str | int | float | bool) -> dict[str, Any]:
    """``model.delegate`` of an agent.yaml that runs the stand-in."""
    return {"kind": "external", "library": str(library), "options": dict(options), "model": "edgetpu"}


def child(
    library: Path, *, content: bytes = CLASSIFIER_TWIN, timeout_s: float = 10.0, **options: Any
) -> ChildRunner:
    """A ChildRunner of the stand-in; ``options`` are the library's."""
    return ChildRunner(
        external(library, **options), content, runtime=tiny.runtime(), threads=1, timeout_s=timeout_s
    )


def standin_bundle(folder: Path, *, name: str = "bundle.tflite", count: int = 200, **request: Any) -> Path:
    """A bundle of ``tiny.CLASSIFIER`` with its Edge TPU twin, and a golden set of labelled pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    twin = folder / "edgetpu_twin.tflite"
    twin.write_bytes(CLASSIFIER_TWIN)
    if "golden" not in request:
        request["golden"] = bundles.write_images(folder / "golden", 40, seed=2)
    return bundles.make_bundle(folder, name=name, count=count, edgetpu=twin, **request)
