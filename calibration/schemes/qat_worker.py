"""The process in which ``qat`` trains: Keras 2, chosen by its environment before TensorFlow is imported."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.schemes.keras2 import CannotRebuildError, build, check_same, set_weights

SEEN = 128
"""Training inputs that tell where ranges begin."""
DECAY = 0.999
"""Of the tool's moving averages."""


def main(folder: Path) -> int:
    """Reads what ``qat`` wrote into ``folder``, writes ``qat.tflite`` and ``said.txt`` there."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    settings = json.loads((folder / "settings.json").read_text())
    try:
        model = rebuilt(folder, tf.keras)
        trained, left = annotated(model, tf.keras, tfmot.quantization.keras)
    except CannotRebuildError as error:
        (folder / "said.txt").write_text(str(error))
        return 1
    with np.load(folder / "training.npz") as data:
        inputs, labels = data["inputs"], data["labels"]
    begin_ranges(trained, inputs[:SEEN])
    classes = settings["loss"] in ("scores", "logits")
    trained.compile(tf.keras.optimizers.Adam(settings["learning_rate"]), _loss(settings["loss"], tf.keras))
    trained.fit(
        inputs,
        labels.astype(np.int64) if classes else labels[:, None],
        epochs=settings["epochs"],
        batch_size=32,
        verbose=0,
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(trained)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    representative = np.load(folder / "representative.npy")
    converter.representative_dataset = lambda: _one_by_one(representative)
    try:
        (folder / "qat.tflite").write_bytes(converter.convert())
    except Exception as error:  # ConverterError is no public class
        words = " ".join(str(error).split())[:200]
        (folder / "said.txt").write_text(f"it was trained, but the converter refuses the result: {words}")
        return 1
    if left:
        (folder / "said.txt").write_text(f", not trained for: {', '.join(left)}")
    return 0


def rebuilt(folder: Path, keras: Any) -> Any:
    """The trained model of ``folder`` in this process's Keras. Raises CannotRebuildError."""
    described = json.loads((folder / "model.json").read_text())
    model = build(described, keras)
    with np.load(folder / "weights.npz") as file:
        set_weights(model, described, dict(file))
    with np.load(folder / "sample.npz") as file:
        check_same(model, keras, dict(file))
    return model


def annotated(model: Any, keras: Any, tool: Any) -> tuple[Any, list[str]]:
    """``model`` with fake quantization, and the names of the layers that the tool has no rule for: they
    stay as they are. Raises CannotRebuildError."""
    left: list[str] = []
    while True:
        try:
            marked = keras.models.clone_model(
                model,
                clone_function=lambda layer: (
                    layer if layer.name in left else tool.quantize_annotate_layer(layer)
                ),
            )
            return tool.quantize_apply(marked), left
        except (RuntimeError, ValueError) as error:
            unknown = re.match(r"Layer (\S+?):<class .* is not supported", str(error))
            if unknown is None or unknown[1] in left:
                words = " ".join(str(error).split())[:200]
                raise CannotRebuildError(f"the training tool has no rule for it: {words}") from None
            left.append(unknown[1])


def _loss(name: str, keras: Any) -> Any:
    if name in ("scores", "logits"):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=name == "logits")
    return "binary_crossentropy" if name == "binary" else "mse"


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


def _one_by_one(inputs: Any) -> Iterator[list[Any]]:
    return ([inputs[i : i + 1]] for i in range(len(inputs)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
