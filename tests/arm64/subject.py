"""What is run on either architecture, for ``prove.py`` to compare.

    subject.py TASK FOLDER

TASK: ``versions`` prints them as JSON; ``outputs`` runs each model of FOLDER on the tensors beside it and
writes the raw outputs by kernel family; ``tensors`` decodes and prepares the pictures of FOLDER.
"""

import json
import platform
import sys
from pathlib import Path

import cv2
import numpy as np

from agent.preprocess import spec as specs
from agent.preprocess.compiled import compile_spec
from agent.runtime.choice import choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner

FAMILIES = ("auto", "builtin", "reference")


def versions(folder: Path) -> None:
    runtime = choose("auto", cache=None)
    sys.stdout.write(
        json.dumps(
            {
                "machine": platform.machine(),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "runtime": f"{runtime.name} {runtime.version}",
            }
        )
    )


def outputs(folder: Path) -> None:
    runtime = choose("auto", cache=None)
    made = {}
    for model in sorted(folder.glob("*.tflite")):
        tensors = np.load(model.with_suffix(".npy"))
        for family in FAMILIES:
            runner = open_runner(Cpu(kernels=family), model.read_bytes(), runtime=runtime, threads=1)
            rows = [np.concatenate([one.ravel() for one in runner.run(tensor)]) for tensor in tensors]
            made[f"{model.stem}/{family}"] = np.stack(rows)
            made[f"{model.stem}/{family}/kernels"] = np.array(runner.info.kernels)
    np.savez(sys.argv[3], **made)


def tensors(folder: Path) -> None:
    runtime = choose("auto", cache=None)
    model = folder / "digits_int8.tflite"
    runner = open_runner(Cpu(), model.read_bytes(), runtime=runtime, threads=1)
    compiled = compile_spec(specs.parse((folder / "preprocess.yaml").read_text()), runner.input)
    pictures = sorted((folder / "pictures").iterdir())
    np.savez(sys.argv[3], tensors=np.stack([compiled(path.read_bytes()).tensor for path in pictures]))


if __name__ == "__main__":
    {"versions": versions, "outputs": outputs, "tensors": tensors}[sys.argv[1]](Path(sys.argv[2]))
