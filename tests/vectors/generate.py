"""Writes preprocess.npz: what TensorFlow, Pillow and OpenCV themselves make of small known inputs.

Run with tensorflow, Pillow and opencv-python-headless installed: ``python tests/vectors/generate.py``.
Pillow changed its rounding in version 13, so run ``generate.py pillow`` again with the other
Pillow (12 or older) installed: it adds that version's arrays to the file. The tests compare
Litewatch's preprocessing with these arrays where the libraries are not at hand. ``generate.py
--check`` writes nothing: it compares what the libraries make now with the file, bit for bit, and
exits with 1 where they differ.

Inputs are ``image_<name>`` (H×W×3 uint8). Outputs: ``<library>/<method>/<image>/<width>x<height>``.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

OUTPUT = Path(__file__).with_name("preprocess.npz")
SIZES = {
    "noise": [(24, 30), (61, 20), (56, 12)],
    "smooth": [(32, 32), (30, 90)],
    "tiny": [(7, 5), (16, 16), (1, 1)],
}
OPENCV = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "linear_exact": cv2.INTER_LINEAR_EXACT,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
}
SERIES = "pillow13" if int(PIL.__version__.split(".")[0]) >= 13 else "pillow"
PILLOW = {
    f"{SERIES}_bilinear": Image.Resampling.BILINEAR,
    f"{SERIES}_bicubic": Image.Resampling.BICUBIC,
}
CROPS = [(480, 640), (375, 500), (333, 501), (224, 224), (7, 5), (1, 1), (1001, 77)]
FRACTIONS = [0.875, 0.5, 0.33, 0.9, 1.0]
TENSORS = {
    "uint8_half": ("UINT8", 0.5, 128),
    "int8_half": ("INT8", 0.5, -1),
    "int8_odd": ("INT8", 0.0173, -13),
    "int16": ("INT16", 0.25, 0),
}


def images() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:120, 0:160]
    waves = [np.sin(x / 9 + k) * np.cos(y / (7 + 3 * k)) * 110 + 128 + 20 * (x > 80) for k in range(3)]
    return {
        "noise": rng.integers(0, 256, (49, 61, 3), dtype=np.uint8),
        "smooth": np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8),
        "tiny": rng.integers(0, 256, (5, 7, 3), dtype=np.uint8),
    }


def by_pillow(name: str, image: NDArray[np.uint8]) -> dict[str, NDArray]:
    return {
        f"pillow/{method}/{name}/{width}x{height}": np.asarray(
            Image.fromarray(image).resize((width, height), kernel)
        )
        for width, height in SIZES[name]
        for method, kernel in PILLOW.items()
    }


def resized(name: str, image: NDArray[np.uint8]) -> dict[str, NDArray]:
    import tensorflow as tf

    made = by_pillow(name, image)
    for width, height in SIZES[name]:
        key = f"{name}/{width}x{height}"
        for method, flag in OPENCV.items():
            made[f"opencv/{method}/{key}"] = cv2.resize(image, (width, height), interpolation=flag)
        bilinear = tf.image.resize(image, (height, width), method="bilinear", antialias=False)
        made[f"tensorflow/tf_bilinear/{key}"] = bilinear.numpy()
    return made


def central_crops() -> NDArray[np.float64]:
    """Rows of (height, width, fraction, top, left, kept height, kept width)."""
    import tensorflow as tf

    rows = []
    for height, width in CROPS:
        place = np.stack(np.mgrid[0:height, 0:width], axis=-1).astype(np.int32)
        for fraction in FRACTIONS:
            kept = tf.image.central_crop(place, fraction).numpy()
            rows.append((height, width, fraction, *kept[0, 0], *kept.shape[:2]))
    return np.array(rows, dtype=np.float64)


def ramps() -> dict[str, NDArray[np.float32]]:
    """What Keras' layers and functions make of the 8-bit values 0 to 255."""
    import tensorflow as tf

    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1, 1)
    repeated = np.repeat(ramp, 3, axis=3).astype(np.float32)
    return {
        "keras/rescaling_255": tf.keras.layers.Rescaling(1 / 255)(ramp).numpy().ravel(),
        "keras/mobilenet": tf.keras.applications.mobilenet.preprocess_input(repeated.copy())[0, :, 0],
        "keras/torch_mode": tf.keras.applications.densenet.preprocess_input(repeated.copy())[0, :, 0],
        "tensorflow/convert_image_dtype": tf.image.convert_image_dtype(ramp, tf.float32).numpy().ravel(),
    }


def quantized() -> dict[str, NDArray]:
    """What TFLite's reference QUANTIZE kernel stores, halves and values out of range among them."""
    rng = np.random.default_rng(8)
    values = np.concatenate(
        [np.arange(-600, 600) * 0.125, rng.normal(0, 3, 800), [-1e6, 1e6, 0.0], rng.normal(0, 9000, 45)]
    ).astype(np.float32)
    made: dict[str, NDArray] = {"quantize/values": values}
    for name, (dtype, scale, zero_point) in TENSORS.items():
        made[f"quantize/{name}"] = quantize_by_tflite(values, dtype, scale, zero_point)
        made[f"quantize/{name}/spec"] = np.array([scale, zero_point])
    return made


def quantize_by_tflite(values: NDArray[np.float32], dtype: str, scale: float, zero_point: int) -> NDArray:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        model_content=quantize_model(len(values), dtype, scale, zero_point),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, values[None])
    interpreter.invoke()
    return interpreter.get_tensor(1)[0]


def quantize_model(length: int, dtype: str, scale: float, zero_point: int) -> bytes:
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero_point])
    source = schema.TensorT(name=b"in", shape=[1, length], type=schema.TensorType.FLOAT32, buffer=0)
    target = schema.TensorT(
        name=b"out",
        shape=[1, length],
        type=getattr(schema.TensorType, dtype),
        buffer=0,
        quantization=quantization,
    )
    operator = schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])
    graph = schema.SubGraphT(tensors=[source, target], inputs=[0], outputs=[1], operators=[operator])
    code = schema.BuiltinOperator.QUANTIZE
    # Kernel version 1 writes 8 bits, version 2 also 16.
    opcode = schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=2)
    model = schema.ModelT(version=3, operatorCodes=[opcode], subgraphs=[graph], buffers=[schema.BufferT()])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def everything() -> dict[str, NDArray]:
    import tensorflow as tf

    made: dict[str, NDArray] = {}
    for name, image in images().items():
        made[f"image_{name}"] = image
        made |= resized(name, image)
    made |= {"central_crop": central_crops()} | ramps() | quantized()
    return made | {
        "versions/tensorflow": np.array(tf.__version__),
        "versions/opencv": np.array(cv2.__version__),
    }


def check(made: dict[str, NDArray]) -> int:
    """How the libraries' arrays compare with the file's: 0 equal, 1 not."""
    stored = dict(np.load(OUTPUT))
    compared = [name for name in made if not name.startswith("versions/")]
    differ = [name for name in compared if name not in stored or not np.array_equal(stored[name], made[name])]
    for name in differ:
        sys.stdout.write(f"differs: {name}\n")
    sys.stdout.write(f"{len(compared) - len(differ)} of {len(compared)} arrays are as recorded\n")
    return 1 if differ else 0


def main() -> None:
    if sys.argv[1:] == ["pillow"]:
        made = dict(np.load(OUTPUT))
        for name, image in images().items():
            made |= by_pillow(name, image)
    else:
        made = everything()
    if sys.argv[1:] == ["--check"]:
        sys.exit(check(made))
    made[f"versions/{SERIES}"] = np.array(PIL.__version__)
    np.savez_compressed(OUTPUT, **made)
    sys.stdout.write(f"{OUTPUT.name}: {len(made)} arrays, {OUTPUT.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
