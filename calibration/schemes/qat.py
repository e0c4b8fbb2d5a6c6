"""Quantization-aware training: some epochs more with fake quantization, then int8.

The training tool works on Keras 2 only, so it runs in a process of its own (``qat_worker``), to which
the model goes as a list of layers and their weights, with what each layer gives for a few inputs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.schemes.keras_layers import Layers, describe
from calibration.schemes.quiet import silent
from calibration.schemes.scheme import Made, NotMade, Scheme, Training
from calibration.schemes.trained_model import TrainedModel, tensorflow

LossName: TypeAlias = Literal["scores", "logits", "binary", "value"]
COMPARED = 2
"""Inputs on which the rebuilt model must answer as the original."""
_LONGEST = 300


def make(
    model: TrainedModel, scheme: Scheme, training: Training, representative: Sequence[NDArray[np.float32]]
) -> Made | NotMade:
    if model.keras is None:
        return NotMade(scheme=scheme, reason="a SavedModel cannot be trained on: give the .keras or .h5 file")
    try:
        layers = describe(model.keras)
        settings = {
            "epochs": training.epochs,
            "learning_rate": training.learning_rate,
            "loss": loss_name(training, layers.described, model.keras.output_shape),
        }
    except (AttributeError, TypeError, ValueError) as error:
        return NotMade(scheme=scheme, reason=f"Keras 2 cannot have it: {error}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.json").write_text(json.dumps(layers.described, default=str))
        (folder / "settings.json").write_text(json.dumps(settings))
        np.savez(folder / "weights.npz", **layers.weights())
        np.savez(folder / "sample.npz", **_sample(model.keras, layers, training.inputs[:COMPARED]))
        np.savez(folder / "training.npz", inputs=training.inputs, labels=training.labels)
        np.save(folder / "representative.npy", np.concatenate(list(representative)))
        return _train(folder, scheme, training.epochs)


def _train(folder: Path, scheme: Scheme, epochs: int) -> Made | NotMade:
    done = subprocess.run(
        [sys.executable, "-m", "calibration.schemes.qat_worker", str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TF_USE_LEGACY_KERAS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
    )
    said, made = folder / "said.txt", folder / "qat.tflite"
    words = said.read_text() if said.is_file() else ""
    if done.returncode == 0 and made.is_file():
        return Made(scheme=scheme, flatbuffer=made.read_bytes(), note=f"{epochs} epochs{words}")
    last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return NotMade(scheme=scheme, reason=words or f"the training failed: {last[:_LONGEST]}")


def loss_name(
    training: Training, described: Sequence[dict[str, Any]], output_shape: Sequence[int | None]
) -> LossName:
    """Which loss the model is trained with. Cross-entropy of one number only where it is certain that it
    is a probability: behind a sigmoid, with labels that are all 0 or 1.

    Raises ValueError for a regression of several numbers, of which a label tells one only.
    """
    if training.head != "value":
        return training.head
    if output_shape[-1] != 1:
        raise ValueError("a label tells one number only, and the model gives several")
    last = described[-1]
    sigmoid = "sigmoid" in (last["config"].get("activation"), last["class"].lower())
    return "binary" if sigmoid and set(training.labels.tolist()) <= {0.0, 1.0} else "value"


def _sample(keras: Any, layers: Layers, inputs: NDArray[np.float32]) -> dict[str, Any]:
    """``inputs``, and what comes out of the model for them (``output``)."""
    with silent():
        outputs = np.asarray(tensorflow().convert_to_tensor(keras(inputs, training=False)), np.float32)
        behind = layers.outputs(inputs)
    return {"inputs": inputs, "output": outputs} | {f"layer/{name}": own for name, own in behind.items()}
