"""Results of checks and diagnoses in several states, as a device would have written them."""

from dataclasses import replace

import cv2
import numpy as np

from agent.contracts import Array, Image, TensorSpec
from calibration.check_result import (
    CheckResult,
    KernelFamily,
    LayerError,
    LayerView,
    OutputError,
    Picture,
    Rung,
)
from calibration.diagnosis_result import DiagnosisResult, FactorCost
from calibration.page.pictures import picture

UINT8 = TensorSpec(name="input", shape=(1, 224, 224, 3), dtype="uint8", scale=1 / 128, zero_point=128)

RECORDED = (
    ("runtime", "ai-edge-litert 2.3.0"),
    ("kernels", "reference"),
    ("OpenCV", "5.0.0"),
    ("numpy", "2.4.1"),
    ("CPU", "x86_64"),
)
HERE = (
    ("runtime", "tflite-runtime 2.14.0"),
    ("kernels", "auto"),
    ("delegate", "cpu"),
    ("OpenCV", "5.0.0"),
    ("numpy", "1.26.4"),
    ("CPU", "aarch64, Cortex-A72"),
)


def scene(seed: int, size: int = 224) -> Image:
    """A made-up landscape: sky, hills, a sun and a house, as RGB uint8."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, size)[:, None, None]
    sky, glow = rng.uniform((40, 90, 150), (110, 150, 230)), rng.uniform((220, 160, 110), (255, 220, 190))
    image = np.broadcast_to(sky + (glow - sky) * ramp, (size, size, 3)).astype(np.uint8).copy()
    x = np.arange(size)
    cv2.circle(image, tuple(rng.integers(size // 8, size // 2, 2).tolist()), size // 12, (255, 236, 170), -1)
    for row in range(3):
        height = size * (0.5 + 0.16 * row) + size * 0.07 * np.sin(
            x / size * rng.uniform(4, 9) + rng.uniform(0, 6)
        )
        hill = np.concatenate([np.stack([x, height], 1), [[size, size], [0, size]]]).astype(np.int32)
        cv2.fillPoly(
            image, [hill], [int(v) for v in (70 - 18 * row, 120 - 26 * row, 72 - 14 * row)], cv2.LINE_AA
        )
    left, top, wide = int(size * rng.uniform(0.5, 0.68)), int(size * 0.6), size // 5
    cv2.rectangle(image, (left, top), (left + wide, top + wide), (204, 92, 60), -1)
    roof = np.array([[left - 8, top], [left + wide // 2, top - wide // 2], [left + wide + 8, top]], np.int32)
    cv2.fillPoly(image, [roof], (104, 44, 40), cv2.LINE_AA)
    cv2.rectangle(
        image, (left + wide // 3, top + wide // 2), (left + wide // 2, top + wide), (250, 226, 150), -1
    )
    noise = rng.normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def shot(
    seed: int, *, name: str, was: str, now: str, label: str | None, device: Array | None = None
) -> Picture:
    """A picture of ``scene(seed)`` whose device side was resized by nearest after a detour, or ``device``."""
    training = scene(seed)
    if device is None:
        small = cv2.resize(training, (150, 112), interpolation=cv2.INTER_NEAREST)
        device = cv2.resize(small, (224, 224), interpolation=cv2.INTER_NEAREST)[:, :, ::-1]
    return picture(
        name=name,
        rung="preprocess",
        was=was,
        now=now,
        label=label,
        training=training[None],
        device=device[None],
        tensor=UINT8,
    )


def _kernel_families() -> tuple[KernelFamily, ...]:
    return (
        KernelFamily(
            name="reference", inputs=32, flips=0, error=OutputError(largest=0.0, mean=0.0, snr_db=None)
        ),
        KernelFamily(
            name="builtin", inputs=128, flips=1, error=OutputError(largest=0.0078, mean=2.1e-5, snr_db=46.2)
        ),
        KernelFamily(
            name="xnnpack", inputs=128, flips=4, error=OutputError(largest=0.0586, mean=3.4e-5, snr_db=33.1)
        ),
    )


def healthy() -> CheckResult:
    """Everything within tolerance, with labels and a float twin."""
    return CheckResult(
        bundle="mobilenet_v2.tflite",
        task="classification",
        verdict="ok",
        cause=None,
        sentence="This device computes what was recorded in training, within tolerance: nothing to fix.",
        origin="recorded",
        rungs=(
            Rung(name="float", verdict="ok", inputs=128, flips=0, accuracy=0.8672, low=0.809, high=0.91),
            Rung(
                name="quantized",
                verdict="ok",
                compared="float",
                inputs=128,
                flips=5,
                accuracy=0.8594,
                low=0.801,
                high=0.903,
                points=-0.78,
                points_low=-3.2,
                points_high=1.6,
                p=1.0,
                margin_inputs=64,
                margin_flips=11,
                error=OutputError(largest=0.21, mean=4.0e-4, snr_db=24.6),
                spoke=("outputs",),
                sentence="Quantization moves 5 of 128 answers and costs no accuracy that can be told "
                "from chance.",
            ),
            Rung(
                name="kernels",
                verdict="ok",
                compared="quantized",
                inputs=128,
                flips=1,
                accuracy=0.8594,
                low=0.801,
                high=0.903,
                points=0.0,
                points_low=-1.3,
                points_high=1.3,
                p=1.0,
                margin_inputs=64,
                margin_flips=3,
                error=OutputError(largest=0.0078, mean=2.1e-5, snr_db=46.2),
                spoke=("outputs", "margins"),
                sentence="This CPU’s kernels give the recorded outputs within rounding.",
                families=_kernel_families(),
                latency_ms=7.3,
            ),
            Rung(
                name="preprocess",
                verdict="ok",
                compared="kernels",
                inputs=128,
                flips=0,
                accuracy=0.8594,
                low=0.801,
                high=0.903,
                points=0.0,
                points_low=-1.3,
                points_high=1.3,
                p=1.0,
                margin_inputs=64,
                margin_flips=0,
                error=OutputError(largest=0.0, mean=0.0, snr_db=None),
                spoke=("tensors",),
                sentence="The input tensors made here equal the recorded ones bit for bit.",
                latency_ms=7.3,
            ),
        ),
        environment=HERE,
        recorded=RECORDED,
    )


def harmful() -> CheckResult:
    """Another resize and colour order here: the last rung falls, with pictures."""
    well = healthy()
    last = replace(
        well.rungs[3],
        verdict="harmful",
        flips=37,
        accuracy=0.625,
        low=0.551,
        high=0.693,
        points=-23.4,
        points_low=-30.2,
        points_high=-16.9,
        p=3.1e-8,
        margin_flips=52,
        error=OutputError(largest=0.97, mean=1.1e-3, snr_db=2.4),
        spoke=("accuracy", "tensors"),
        cause="preprocess:color",
        sentence="The device’s own preprocessing costs 23.4 points (16.9 to 30.2): its tensors are "
        "the recorded ones with red and blue exchanged. Swap the channels back (color: order "
        "rgb), then check again.",
    )
    return replace(
        well,
        verdict="harmful",
        cause="preprocess:color",
        sentence="This device exchanges red and blue before the model sees the picture: that costs 23.4 "
        "points "
        "(16.9 to 30.2). Set color order rgb in its preprocessing.",
        rungs=(*well.rungs[:3], last),
        notes=(
            "The reference kernels ran on 32 of the 128 inputs: they are slow on this CPU.",
            "The decoded originals equal the recorded ones: the JPEG decoder is not the cause.",
        ),
        pictures=(
            shot(3, name="hill_0031.jpg", was="barn", now="lakeside", label="barn"),
            shot(8, name="hill_0107.jpg", was="sandbar", now="volcano", label="sandbar"),
            shot(5, name='house <7> & "Co".jpg', was="boathouse", now="greenhouse", label="barn"),
            shot(21, name="evening.jpg", was="alp", now="valley", label=None),
        ),
    )


def changed_without_labels() -> CheckResult:
    """No labels, no float twin, self-made tensors, margins spoke."""
    rungs = healthy().rungs[1:]
    bare = [
        replace(
            rung, accuracy=None, low=None, high=None, points=None, points_low=None, points_high=None, p=None
        )
        for rung in rungs
    ]
    kernels = replace(
        bare[1],
        verdict="changed",
        flips=9,
        margin_flips=21,
        cause="kernels",
        spoke=("flips", "margins"),
        sentence="This CPU’s kernels change 9 of 128 answers and 21 of 64 close calls. Label golden "
        "inputs to "
        "learn whether that costs accuracy.",
    )
    return replace(
        healthy(),
        bundle="detector of doors.tflite",
        verdict="changed",
        cause="kernels",
        sentence="The kernels of this CPU answer differently on 9 of 128 inputs; without labels nobody "
        "can say "
        "whether that is worse. Add labels to the golden set and pack again.",
        rungs=(replace(bare[0], compared=None), kernels, bare[2]),
        origin="self-made",
        notes=(
            "The golden inputs carry no labels: accuracies and points are not shown.",
            "The bundle was packed without a float twin: the ladder starts at the quantized rung.",
        ),
    )


def detection() -> CheckResult:
    """Boxes instead of answers, and somebody else's preprocessing on its own rung."""
    well = healthy()
    quantized = replace(
        well.rungs[1],
        compared=None,
        accuracy=0.71,
        low=0.66,
        high=0.756,
        points=None,
        points_low=None,
        points_high=None,
        p=None,
        flips=0,
        margin_inputs=0,
        margin_flips=0,
        error=None,
        spoke=(),
        inputs=32,
        sentence="Recorded when packing.",
    )
    kernels = replace(
        well.rungs[2],
        accuracy=0.704,
        low=0.654,
        high=0.751,
        points=-0.6,
        points_low=-2.1,
        points_high=0.9,
        p=1.0,
        inputs=32,
        flips=6,
        margin_inputs=0,
        margin_flips=0,
        families=(),
        latency_ms=14.5,
    )
    ours = replace(
        kernels, name="preprocess", compared="kernels", points=0.0, points_low=-1.0, points_high=1.0, flips=0
    )
    yours = replace(
        kernels,
        name="your preprocessing",
        compared="preprocess",
        verdict="harmful",
        accuracy=0.523,
        low=0.469,
        high=0.576,
        points=-18.1,
        points_low=-22.6,
        points_high=-13.8,
        p=2.2e-11,
        flips=61,
        cause="preprocess:resize",
        spoke=("accuracy", "tensors"),
        latency_ms=None,
        sentence="Your preprocessing letterboxes where training squashed: 18.1 points (13.8 to 22.6). Resize "
        "without keeping the aspect ratio.",
    )
    return replace(
        well,
        bundle="ssd_mobilenet_v1.tflite",
        task="detection",
        verdict="harmful",
        cause="preprocess:resize",
        sentence="Your preprocessing letterboxes where training squashed: 18.1 points lost (13.8 to "
        "22.6). Resize "
        "without keeping the aspect ratio.",
        rungs=(quantized, kernels, ours, yours),
        origin="unknown",
    )


def layer_view() -> LayerView:
    """29 layers of a per-tensor quantized network: the error jumps at a depthwise convolution."""
    rng = np.random.default_rng(4)
    made = []
    for depth in range(29):
        snr = 38.0 - 0.35 * depth + float(rng.normal(0, 1.2))
        snr -= 21.0 if depth >= 3 else 0.0
        snr -= 9.0 if depth >= 11 else 0.0
        bad, kind = depth == 3, "depthwise" if depth % 2 else "pointwise"
        made.append(
            LayerError(
                depth=depth,
                op="DEPTHWISE_CONV_2D" if kind == "depthwise" else "CONV_2D",
                name=f"MobilenetV1/Conv2d_{(depth + 1) // 2}_{kind}/Relu6",
                snr_db=None if depth == 0 else snr,
                cosine=1 - 10 ** (-snr / 14),
                saturated=0.061 if bad else 0.002,
                calibrated=(0.0, 5.9997),
                seen=(0.0, 6.0) if not bad else (0.0, 23.4),
                culprit="one scale for all channels of a depthwise weight" if bad else "",
            )
        )
    return LayerView(
        layers=tuple(made),
        jump=made[3].name,
        findings=(
            "Layer 4 (DEPTHWISE_CONV_2D) has one scale for all its channels; the widest channel is 190 times "
            "the narrowest. Quantize per channel.",
        ),
        production=False,
        kernels="builtin kernels, all tensors kept",
    )


def with_layers() -> CheckResult:
    """Quantization is the cause; the layer view shows where."""
    well = healthy()
    quantized = replace(
        well.rungs[1],
        verdict="harmful",
        flips=121,
        accuracy=0.0156,
        low=0.004,
        high=0.047,
        points=-85.2,
        points_low=-90.1,
        points_high=-79.0,
        p=1e-30,
        margin_flips=64,
        cause="quantization",
        spoke=("accuracy", "outputs"),
        error=OutputError(largest=0.99, mean=1.9e-3, snr_db=-3.1),
        sentence="Quantization costs 85.2 points (79.0 to 90.1). Quantize the weights per channel.",
    )
    below = [replace(rung, accuracy=0.0156, low=0.004, high=0.047) for rung in well.rungs[2:]]
    return replace(
        well,
        verdict="harmful",
        cause="quantization",
        sentence="Quantization costs 85.2 points (79.0 to 90.1): the weights have one scale for all "
        "channels. "
        "Quantize them per channel.",
        rungs=(well.rungs[0], quantized, *below),
        layers=layer_view(),
    )


def diagnosis() -> DiagnosisResult:
    """Four factors, two of them proven to cost."""

    def factor(
        name: str, step: str | None, points: float, half: float, trained: str, deployed: str
    ) -> FactorCost:
        return FactorCost(
            name=name,
            step=step,
            points=points,
            low=points - half,
            high=points + half,
            p=1e-6 if points > half else 0.8,
            proven=points > half,
            repaired_points=points * 1.1,
            trained=trained,
            deployed=deployed,
        )

    return DiagnosisResult(
        bundle="mobilenet_v2.tflite",
        task="classification",
        measure="accuracy",
        inputs=128,
        trained=0.8594,
        deployed=0.5469,
        loss_points=31.25,
        loss_low=24.2,
        loss_high=38.3,
        factors=(
            factor("colour order", "color", 19.4, 5.1, "rgb", "bgr"),
            factor("normalisation", "normalize", 11.0, 4.2, "mean 127.5, std 127.5", "mean 0, std 255"),
            factor("interpolation", "resize", 1.6, 2.2, "linear", "nearest"),
            factor("rounding", "cast", -0.75, 1.4, "half_even", "truncate"),
        ),
        first="colour order",
        sentence="The deployed preprocessing costs 31.2 points (24.2 to 38.3); colour order alone is "
        "19.4 of them. "
        "Repair that first.",
        interval="90 % bootstrap intervals over inputs",
        exact=True,
        mixes=16,
        environment=HERE,
        notes=("Quantization is no factor here: no float model was given.",),
    )
