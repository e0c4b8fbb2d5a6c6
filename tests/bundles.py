"""Small bundles for tests: a tiny model, seeded random images, packed as a user would pack them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import textures
import tiny

from agent.bundle import Bundle
from agent.contracts import Array, Payload, TensorSpec
from agent.preprocess.compiled import compile_spec
from agent.runtime.choice import choose
from calibration import packing
from calibration.packing import Packed
from calibration.plan import Request, prepare
from calibration.recorded.plan import GoldenRequest

CREATED = "2026-01-02T03:04:05Z"
LABELS = ("background", "red", "green", "blue")
IMAGE_SPEC = """\
version: "7"
steps:
- decode: {exif: ignore}
- resize: {width: 8, height: 8, method: linear_exact, aspect: stretch}
- color: {order: rgb}
- cast: {mode: raw, rounding: half_away, layout: nhwc}
"""
TWIN_SPEC = """\
version: "1"
steps:
- decode: {exif: ignore}
- crop: {kind: central_fraction, fraction: 0.875, rounding: tensorflow}
- resize: {width: 16, height: 16, method: linear_exact, aspect: stretch}
- color: {order: rgb}
- normalize: {divisor: 127.5, mean: [1], std: [1]}
- cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""
VECTOR_SPEC = """\
version: "3"
steps:
- select: {names: [x], columns: [x]}
- cast: {mode: quantize, rounding: half_away}
"""


def write_images(folder: Path, count: int, *, seed: int = 1, size: int = 12) -> Path:
    """``count`` noisy PNGs, each red, green or blue, and ``labels.csv`` beside them with the colour's
    output index of ``tiny.CLASSIFIER``; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        colour = int(rng.integers(3))
        image = rng.integers(0, 90, (size, size, 3))
        image[..., colour] += int(rng.integers(60, 160))
        name = f"{number:05d}.png"
        cv2.imwrite(str(folder / name), image[..., ::-1].astype(np.uint8))
        rows.append((name, colour + 1))
    return _write_csv(folder / "labels.csv", ("file", "label"), rows)


def write_vectors(path: Path, count: int, *, seed: int = 1) -> Path:
    """``count`` readings ``x`` from N(5, 2) and the label ``2x + 1`` of ``tiny.LINEAR`` plus noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 2, count)
    y = 2 * x + 1 + rng.normal(0, 0.5, count)
    return _write_csv(
        path, ("x", "label"), [(repr(float(a)), repr(float(b))) for a, b in zip(x, y, strict=True)]
    )


def pack_images(folder: Path, *, count: int = 200, key: str | None = None, **request: Any) -> Packed:
    """``tiny.CLASSIFIER`` with its preprocessing, labels and ``count`` held-out images; options of
    the golden set as ``golden_request`` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    model, spec, labels = folder / "model.tflite", folder / "preprocess.yaml", folder / "labels.txt"
    model.write_bytes(request.pop("model_bytes", tiny.CLASSIFIER))
    spec.write_text(request.pop("spec", IMAGE_SPEC))
    labels.write_text("\n".join(LABELS) + "\n")
    held_out = request.pop("held_out", None) or write_images(folder / "held_out", count)
    request = {"labels": labels, "created": CREATED, "golden": golden_request(folder, request), **request}
    return _pack(Request(model=model, preprocess=spec, held_out=held_out, **request), key)


def pack_twin(
    folder: Path, *, count: int = 64, model_bytes: bytes = tiny.TWIN_INT8, **request: Any
) -> Packed:
    """``tiny.TWIN_INT8`` (or another) over ``count`` held-out textures, 20×20 PNGs, with a golden set of
    32 random and 16 undecided inputs out of 80 others in ``folder/golden``, and ``tiny.TWIN_FLOAT`` as
    its float twin (``float_model=None``: without). Takes about a second."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "textures.txt"
    labels.write_text("\n".join(textures.LABELS) + "\n")
    if "golden" not in request:
        request["golden"] = textures.write(folder / "golden", 80, seed=22)
    given = {"spec": TWIN_SPEC, "float_model": tiny.TWIN_FLOAT, "golden_count": 32, "golden_margin": 16}
    held_out = request.pop("held_out", None) or textures.write(folder / "textures", count)
    return pack_images(
        folder, model_bytes=model_bytes, held_out=held_out, **{"labels": labels, **given, **request}
    )


def make_golden_bundle(folder: Path, *, name: str = "bundle.tflite", **request: Any) -> Path:
    """The file of ``pack_twin``'s bundle in ``folder``."""
    path = folder / name
    path.write_bytes(pack_twin(folder / f"{name}.parts", **request).data)
    return path


def golden_request(folder: Path, request: dict[str, Any]) -> GoldenRequest:
    """Takes out of ``request``: ``golden`` (path), ``golden_count``, ``golden_margin``,
    ``golden_max_bytes``, ``golden_max_originals_bytes``, ``golden_tensors``,
    ``accept_difference``, ``float_model`` (path or bytes) and ``tolerance``."""
    renamed = {"golden": "inputs"} | {
        f"golden_{key}": key for key in ("count", "margin", "max_bytes", "max_originals_bytes", "tensors")
    }
    plain = ("accept_difference", "float_model", "tolerance")
    options = {
        (renamed | dict(zip(plain, plain, strict=True)))[key]: request.pop(key)
        for key in [key for key in request if key in renamed or key in plain]
    }
    if isinstance(options.get("float_model"), bytes):
        path = folder / "float.tflite"
        path.write_bytes(options["float_model"])
        options["float_model"] = path
    return GoldenRequest(**options)


def pack_vectors(folder: Path, *, count: int = 200, key: str | None = None, **request: Any) -> Packed:
    """``tiny.LINEAR``, a regression of one reading, with ``count`` held-out rows."""
    folder.mkdir(parents=True, exist_ok=True)
    model, spec = folder / "model.tflite", folder / "preprocess.yaml"
    model.write_bytes(tiny.LINEAR)
    spec.write_text(VECTOR_SPEC)
    held_out = write_vectors(folder / "held_out.csv", count)
    request = {"created": CREATED, "golden": golden_request(folder, request), **request}
    return _pack(Request(model=model, preprocess=spec, held_out=held_out, **request), key)


def make_bundle(
    folder: Path, *, name: str = "bundle.tflite", count: int = 200, vectors: bool = False, **request: Any
) -> Path:
    """A bundle file in ``folder`` (made in well under 2 s): ``tiny.CLASSIFIER`` over images, or with
    ``vectors`` ``tiny.LINEAR`` over readings. ``count`` held-out inputs; half become calibration rows."""
    pack = pack_vectors if vectors else pack_images
    path = folder / name
    path.write_bytes(pack(folder / f"{name}.parts", count=count, **request).data)
    return path


def _pack(request: Request, key: str | None) -> Packed:
    plan = prepare(request, choose("auto", cache=None))
    return packing.pack(plan, key=key, progress=lambda inputs, _: inputs)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def prepared(bundle: Bundle, tensor: TensorSpec, payload: Payload) -> Array:
    """What the bundle's preprocessing makes of ``payload`` for an input ``tensor``."""
    return compile_spec(bundle.spec, tensor)(payload).tensor
