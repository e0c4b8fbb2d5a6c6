"""Quantization-aware training: some epochs more with fake quantization, then int8.

The training tool works on Keras 2 only, so it runs in a process of its own (``qat_worker``), to which
the model goes as a list of layers and their weights.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.schemes.scheme import Made, NotMade, Scheme, Training
from calibration.schemes.trained_model import TrainedModel

_LONGEST = 300


def make(
    model: TrainedModel, scheme: Scheme, training: Training, representative: Sequence[NDArray[np.float32]]
) -> Made | NotMade:
    if model.keras is None:
        return NotMade(scheme=scheme, reason="a SavedModel cannot be trained on: give the .keras or .h5 file")
    try:
        described = describe(model.keras)
    except (AttributeError, TypeError, ValueError) as error:
        return NotMade(scheme=scheme, reason=f"its layers cannot be told apart: {error}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.json").write_text(json.dumps(described, default=str))
        np.savez(folder / "weights.npz", *model.keras.get_weights())
        np.savez(folder / "training.npz", inputs=training.inputs, labels=training.labels)
        np.save(folder / "representative.npy", np.concatenate(list(representative)))
        (folder / "settings.json").write_text(
            json.dumps({"epochs": training.epochs, "learning_rate": training.learning_rate})
        )
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
        made = folder / "qat.tflite"
        if done.returncode or not made.is_file():
            last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            return NotMade(scheme=scheme, reason=f"the training failed: {last[:_LONGEST]}")
        return Made(scheme=scheme, flatbuffer=made.read_bytes(), note=f"{training.epochs} epochs")


def describe(keras: Any) -> list[dict[str, Any]]:
    """Each layer in order: its class, name, config, and the names of the layers that feed it.

    Raises ValueError for a model of several inputs or outputs, or a layer that is used twice.
    """
    if len(keras.inputs) != 1 or len(keras.outputs) != 1:
        raise ValueError("it has several inputs or outputs")
    graph = getattr(keras, "_functional", None) or keras  # a Sequential model keeps its graph in there
    in_graph = [node for nodes in graph._nodes_by_depth.values() for node in nodes]
    described = []
    for layer in graph.layers:
        kind = type(layer).__name__
        uses = [node for node in layer._inbound_nodes if any(node is own for own in in_graph)]
        if kind != "InputLayer" and len(uses) != 1:
            raise ValueError(f"the layer {layer.name} is used {len(uses)} times")
        feeding = [] if kind == "InputLayer" else uses[0].input_tensors
        described.append(
            {
                "class": kind,
                "name": layer.name,
                "config": layer.get_config(),
                "from": [tensor._keras_history.operation.name for tensor in feeding],
            }
        )
    return described
