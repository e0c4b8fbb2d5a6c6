"""Trains the demo's models: ``python -m tools.demo.train`` (extra ``workstation``).

The network sees its training pictures through the same preprocessing spec, run by the same code,
as the device will. Only digits that are not held out are shown to it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Image, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import parse
from agent.runtime.choice import choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from tools.console import say
from tools.demo import scene, sensor

SEED = 20260101
PICTURES = 20_000
READINGS = 1_000_000
EPOCHS = 14
BATCH = 64
MEASURED = 1_500
INPUT = TensorSpec(name="input", shape=(1, 32, 32, 3), dtype="float32")

Model: TypeAlias = Any
"""A Keras model; TensorFlow publishes no types."""
Change: TypeAlias = Callable[[Image], Image]


def photographs(
    digits: scene.Digits, count: int, seed: int, change: Change | None = None
) -> Iterator[tuple[bytes, int]]:
    """``count`` pictures as JPEG, and their labels; every digit is shown about equally often."""
    rng = np.random.default_rng(seed)
    for index in rng.permutation(np.arange(count) % len(digits)):
        image = scene.render(digits.pixels[index], rng)
        yield scene.jpeg(change(image) if change else image), int(digits.labels[index])


def prepared(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Training tensors (count, 32, 32, 3) and labels, through the shared preprocessing."""
    compiled = compile_spec(parse((scene.ASSETS / "preprocess.yaml").read_text("utf-8")), INPUT)
    pairs = [(compiled(jpeg).tensor[0], label) for jpeg, label in photographs(scene.training(), count, SEED)]
    return np.stack([tensor for tensor, _ in pairs]), np.array([label for _, label in pairs])


def train(tensors: NDArray[np.float32], labels: NDArray[np.int64]) -> Model:
    """Three small convolutions and a softmax, 15,000 weights."""
    import tensorflow as tf

    keras = tf.keras
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    convolution = partial(keras.layers.Conv2D, kernel_size=3, padding="same", activation="relu")
    model = keras.Sequential([keras.Input(INPUT.shape[1:])])
    for filters in (12, 24, 32):
        model.add(convolution(filters))
        model.add(keras.layers.MaxPool2D())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dropout(0.3))
    model.add(keras.layers.Dense(10, activation="softmax"))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(labels) // BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(tensors, labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    return model


def line_model(line: sensor.Line) -> Model:
    """One linear unit."""
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.Input((1,)), tf.keras.layers.Dense(1)])
    model.set_weights([np.array([[line.slope]]), np.array([line.intercept])])
    return model


def export(model: Model, representative: NDArray[np.float32] | None = None) -> bytes:
    """The .tflite file for a batch of one; full int8, input and output too, with ``representative``."""
    import tensorflow as tf

    # A free batch axis would cost the device a resize, and some delegates refuse it.
    one = tf.keras.Input(batch_shape=(1, *model.input_shape[1:]), name="input")
    fixed = tf.keras.Sequential([one, *model.layers])
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    if representative is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([tensor[None]] for tensor in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def accuracy(model: str, preprocess: str, change: Change | None = None, count: int = MEASURED) -> float:
    """Share of right answers on held-out digits, by asset names, as a device would run them."""
    flatbuffer = (scene.ASSETS / model).read_bytes()
    runner = open_runner(Cpu(), flatbuffer, runtime=choose("auto", cache=None), threads=1)
    compiled = compile_spec(parse((scene.ASSETS / preprocess).read_text("utf-8")), runner.input)
    decoder = ClassificationDecoder(values="scores")
    right = 0
    for jpeg, label in photographs(scene.held_out(), count, SEED + 1, change):
        outputs = runner.run(compiled(jpeg).tensor)
        right += decoder.decode(outputs, runner.outputs).top == label
    return right / count


def main() -> None:
    tensors, labels = prepared(PICTURES)
    model = train(tensors, labels)
    line = sensor.fit(sensor.TRAINED.draw(READINGS, np.random.default_rng(SEED)))
    files = {
        "digits_float.tflite": export(model),
        "digits_int8.tflite": export(model, tensors[:500]),
        "regression.tflite": export(line_model(line)),
    }
    for name, content in files.items():
        (scene.ASSETS / name).write_bytes(content)
        say(f"{name}: {len(content):,} bytes")
    for name in ("digits_float.tflite", "digits_int8.tflite"):
        say(
            f"{name}: healthy {accuracy(name, 'preprocess.yaml'):.1%}, "
            f"legacy preprocessing {accuracy(name, 'legacy.yaml'):.1%}, "
            f"dusk {accuracy(name, 'preprocess.yaml', scene.dusk):.1%}"
        )
    trained, deployed = (sensor.expected_mse(line, where) for where in (sensor.TRAINED, sensor.DEPLOYED))
    say(
        f"regression.tflite: y = {line.slope:.3f} x {line.intercept:+.3f}, "
        f"expected MSE {trained:.2f} as trained, {deployed:.2f} deployed"
    )


if __name__ == "__main__":
    main()
