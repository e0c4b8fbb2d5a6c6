"""The process in which ``qat`` trains: Keras 2, chosen by its environment before TensorFlow is imported."""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SEEN = 128
"""Training inputs that tell where ranges begin."""
DECAY = 0.999
"""Of the tool's moving averages."""
_NEVER = ("initializer", "regularizer", "constraint")
"""Ends of options that say how weights begin or are held; ours are trained."""


def main(folder: Path) -> None:
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    described = json.loads((folder / "model.json").read_text())
    settings = json.loads((folder / "settings.json").read_text())
    with np.load(folder / "weights.npz") as file:
        weights = [file[name] for name in file.files]
    model = build(described, tf.keras)
    model.set_weights(weights)
    trained = tfmot.quantization.keras.quantize_model(model)
    with np.load(folder / "training.npz") as data:
        inputs, labels = data["inputs"], data["labels"]
    begin_ranges(trained, inputs[:SEEN])
    classes = model.output_shape[-1] > 1
    trained.compile(
        tf.keras.optimizers.Adam(settings["learning_rate"]),
        "sparse_categorical_crossentropy" if classes else "mse",
    )
    trained.fit(
        inputs,
        labels.astype(np.int64) if classes else labels,
        epochs=settings["epochs"],
        batch_size=32,
        verbose=0,
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(trained)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    representative = np.load(folder / "representative.npy")
    converter.representative_dataset = lambda: _one_by_one(representative)
    (folder / "qat.tflite").write_bytes(converter.convert())


def begin_ranges(trained: Any, inputs: Any) -> None:
    """Let every range begin where ``inputs`` lie. The tool begins at -6 to 6 and follows the data by a
    thousandth a step (the input's range not at all downwards), so that a short training would cut off
    whatever is larger and waste steps on what is smaller.

    A range after one pass is ``DECAY * before + (1 - DECAY) * seen``, which tells what was seen; what
    lies behind a range that was too small shows only once that one is right, hence a pass a layer.
    """
    bounds = [v for v in trained.non_trainable_variables if v.name.endswith(("_min:0", "_max:0"))]
    # Those of weights follow at once; those of the input only ever grow, so they begin at nothing.
    ranges = [v for v in bounds if "kernel" not in v.name and not v.name.startswith("quantize_layer")]
    others = [v for v in trained.variables if all(v is not one for one in bounds)]
    kept = [v.numpy() for v in others]
    for variable in bounds:
        if variable.name.startswith("quantize_layer"):
            variable.assign(0.0 * variable.numpy())
    for _ in trained.layers:
        before = [v.numpy() for v in ranges]
        trained(inputs, training=True)
        for variable, old in zip(ranges, before, strict=True):
            variable.assign((variable.numpy() - DECAY * old) / (1 - DECAY))
    for variable, old in zip(others, kept, strict=True):
        variable.assign(old)


def build(described: list[dict[str, Any]], keras: Any) -> Any:
    """The model of ``qat.describe`` in this process's Keras, with fresh weights."""
    made: dict[str, Any] = {}
    first = None
    last = None
    for layer in described:
        if layer["class"] == "InputLayer":
            first = last = keras.Input(tuple(layer["config"]["batch_shape"][1:]), name=layer["name"])
        else:
            inputs = [made[name] for name in layer["from"]]
            last = _layer(layer, keras)(inputs[0] if len(inputs) == 1 else inputs)
        made[layer["name"]] = last
    return keras.Model(first, last)


def _layer(layer: dict[str, Any], keras: Any) -> Any:
    kind = getattr(keras.layers, layer["class"])
    known = {
        name
        for cls in kind.__mro__
        if cls is not object
        for name in inspect.signature(cls.__init__).parameters
    }
    options = {
        name: value
        for name, value in layer["config"].items()
        if name in known and name != "dtype" and not name.endswith(_NEVER)
    }
    return kind(**options)


def _one_by_one(inputs: Any) -> Iterator[list[Any]]:
    return ([inputs[i : i + 1]] for i in range(len(inputs)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
