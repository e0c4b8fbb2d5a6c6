"""What was done with the values: range, offset, mean and std, tone curve, sign, rounding.

Where the picture itself is right, the found numbers are a function of the spec's levels, and named
normalisations and casts are tried by computing them. Otherwise straight lines from predicted levels
to found numbers are compared with the spec's own line.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.values import Cast, Normalize
from agent.quantize import ROUNDINGS, quantize
from calibration.hypothesis.color import SHRUNK, STRETCHED
from calibration.hypothesis.hypothesis import Difference, Floats, Lines, fit_lines

IMAGENET_MEAN: Final[tuple[float, ...]] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[tuple[float, ...]] = (0.229, 0.224, 0.225)
CAFFE_MEAN: Final[tuple[float, ...]] = (123.68, 116.779, 103.939)
LIMITED: Final = ((255 / 219, -16 * 255 / 219), (219 / 255, 16.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The spec's way from levels to stored numbers, per channel: ``gain * level + offset``."""

    gain: Floats
    offset: Floats

    def levels(self, numbers: Floats) -> Floats:
        return np.asarray((numbers - self.offset) / self.gain)


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A normalisation in words, in real numbers: ``(level - shift) / by`` per channel."""

    text: str
    normalize: Normalize | None


def steps_of(spec: PreprocessSpec) -> tuple[Normalize | None, Cast]:
    normalize = next((step for step in spec.steps if isinstance(step, Normalize)), None)
    cast = spec.steps[-1]
    assert isinstance(cast, Cast)
    return normalize, cast


def spec_scale(spec: PreprocessSpec, tensor: TensorSpec, channels: int, *, real: bool = False) -> Scale:
    """``real``: into real numbers also where the tensor stores integers."""
    normalize, cast = steps_of(spec)
    ends = np.repeat(np.array([[0.0], [255.0]], np.float32), channels, axis=1)
    if normalize:
        ends = normalize.apply(ends)
    ends = ends.astype(np.float64)
    if tensor.dtype != "float32" and cast.mode == "quantize" and not real:
        ends = ends / tensor.scale + tensor.zero_point
    return Scale(gain=(ends[1] - ends[0]) / 255.0, offset=ends[0])


def normalisations(spec: PreprocessSpec) -> Iterator[Named]:
    """The spec's own first, then the usual ones, then what is left when a part is forgotten."""
    own, _ = steps_of(spec)
    one = (1.0,)
    yield Named(text="as the spec normalizes", normalize=own)
    yield Named(text="0 to 1 (divided by 255)", normalize=Normalize(mean=(0.0,), std=one, divisor=255.0))
    yield Named(
        text="-1 to 1 (divided by 127.5, less 1)", normalize=Normalize(mean=one, std=one, divisor=127.5)
    )
    yield Named(text="0 to 255 (not normalized)", normalize=None)
    yield Named(text="less 128, divided by 128", normalize=Normalize(mean=(128.0,), std=(128.0,)))
    yield Named(text="less 127.5", normalize=Normalize(mean=(127.5,), std=one))
    yield Named(text="-128 to 127 (less 128)", normalize=Normalize(mean=(128.0,), std=one))
    yield Named(text="-0.5 to 0.5", normalize=Normalize(mean=(0.5,), std=one, divisor=255.0))
    yield Named(text="0 to 2 (divided by 127.5)", normalize=Normalize(mean=(0.0,), std=one, divisor=127.5))
    for turn, way in ((1, "RGB"), (-1, "BGR")):
        mean, std, caffe = IMAGENET_MEAN[::turn], IMAGENET_STD[::turn], CAFFE_MEAN[::turn]
        yield Named(
            text=f"ImageNet's mean and std ({way})", normalize=Normalize(mean=mean, std=std, divisor=255.0)
        )
        yield Named(text=f"less ImageNet's mean ({way})", normalize=Normalize(mean=caffe, std=one))
    if own:
        yield from _forgotten(own)


def _forgotten(own: Normalize) -> Iterator[Named]:
    zero, one = (0.0,), (1.0,)
    yield Named(text="the spec's, without subtracting its mean", normalize=replace(own, mean=zero))
    yield Named(text="the spec's, without dividing by its std", normalize=replace(own, std=one))
    yield Named(
        text="the spec's, without scaling to its unit first", normalize=replace(own, scale=1.0, divisor=1.0)
    )
    yield Named(text="the spec's divisor alone", normalize=replace(own, mean=zero, std=one))
    if len(own.mean) == 3 or len(own.std) == 3:
        yield Named(
            text="the spec's with its channels' numbers in reverse order",
            normalize=replace(own, mean=own.mean[::-1], std=own.std[::-1]),
        )


def casts(cast: Cast, tensor: TensorSpec) -> Iterator[tuple[str, Callable[[Floats], Floats]]]:
    """(text, real numbers to what is found) for every usual way into the tensor; the spec's first."""
    yield "", lambda real: cast.numbers(real, tensor).astype(np.float64)
    if tensor.dtype == "float32":
        return
    yield "real numbers", lambda real: real.astype(np.float64)
    info = np.iinfo(tensor.dtype)
    plain = TensorSpec(name="", shape=tensor.shape, dtype=tensor.dtype)
    for rounding in ROUNDINGS:
        if rounding != cast.rounding:
            yield f"rounding {rounding}", _quantized(tensor if cast.mode == "quantize" else plain, rounding)
    if cast.mode == "quantize":
        yield "stored without the tensor's scale", _quantized(plain, "truncate")
        unshifted = replace(tensor, zero_point=0)
        yield "stored without the tensor's zero point", _quantized(unshifted, cast.rounding)
    elif tensor.quantized:
        yield "stored by the tensor's scale", _quantized(tensor, cast.rounding)
    if tensor.dtype == "uint8":
        text = "read as signed bytes, of which the negative ones were cut off at 0"
        yield text, lambda real: _signed_cut_off(cast.numbers(real, tensor))
    size = info.max - info.min + 1
    yield (
        "cut off without saturating",
        lambda real: (np.trunc(real.astype(np.float64)) - info.min) % size + info.min,
    )


def _signed_cut_off(codes: Array) -> Floats:
    return np.where(codes > 127, 0, codes).astype(np.float64)


def _quantized(tensor: TensorSpec, rounding: str) -> Callable[[Floats], Floats]:
    chosen = next(known for known in ROUNDINGS if known == rounding)
    return lambda real: quantize(real.astype(np.float32), tensor, chosen).astype(np.float64)


def name_exactly(
    levels: Floats, found: Floats, spec: PreprocessSpec, tensor: TensorSpec
) -> tuple[Difference | None, float] | None:
    """The named map from ``levels`` (n, C) to ``found`` (n, C) that fits best, and its mean error as a
    share of the found numbers' spread; None when none fits. The difference is None for the spec's own."""
    own, cast = steps_of(spec)
    spread = max(float(np.std(found)), 1e-9)
    best: tuple[float, Difference | None] | None = None
    for i, named in enumerate(normalisations(spec)):
        if named.normalize and len(named.normalize.mean) not in (1, levels.shape[1]):
            continue
        if i and named.normalize == own:
            continue
        real = named.normalize.apply(levels) if named.normalize else levels.astype(np.float32)
        for text, way in casts(cast, tensor):
            error = float(np.mean(np.abs(way(real) - found))) / spread
            if best is None or error < best[0] * 0.7 - 1e-9:
                best = error, _named_difference(i == 0, named.text, text)
    if best is None or best[0] > 0.01:
        return None
    return best[1], best[0]


def _named_difference(own: bool, normalized: str, stored: str) -> Difference | None:
    if own and not stored:
        return None
    if own and stored == "real numbers":
        return Difference(
            step="cast", kind="dtype", text="the values are real numbers, not stored by the tensor's scale"
        )
    if own and stored.startswith("rounding"):
        return Difference(step="cast", kind="rounding", text=f"stored by {stored}")
    if own:
        return Difference(step="cast", kind="scale", text=f"the values are {stored}")
    tail = f", {stored}" if stored else ""
    return Difference(step="normalize", kind="range", text=f"the values are {normalized}{tail}")


def name_lines(
    levels: Floats, found: Floats, scale: Scale, spec: PreprocessSpec, tensor: TensorSpec, noise: float
) -> Difference | None:
    """The difference between the fitted lines and the spec's own; ``noise`` is the share of the found
    variance that the prediction leaves open, which makes the slopes uncertain."""
    lines = fit_lines(levels, found)
    gain = lines.gain / scale.gain
    low, high = float(gain.min()), float(gain.max())
    shift = scale.levels(found).mean(0) - levels.mean(0)
    loose = 0.012 + noise
    same_gain = low >= 1.0 - loose - 0.5 * noise and high <= 1.0 + loose + noise
    if same_gain and float(np.abs(shift).max()) <= 1.0 + 40.0 * noise:
        return None
    start = (lines.offset - scale.offset) / scale.gain
    limited = _limited(gain, start, noise) or _limited(*_grey_line(levels, scale.levels(found)), noise)
    if limited:
        return limited
    for i, text, line in _named_scales(spec, tensor, len(gain)):
        # Against the spec's own line only the uncertainty of the fit counts, else also what names share.
        allowed = (min(0.012, 60.0 * noise) if i == 0 else 0.03) + noise
        if _apart(lines, line) <= allowed:
            return _named_difference(i == 0, text, "")
    for i, text, line in _named_scales(spec, tensor, len(gain)):
        limited = _limited(lines.gain / line.gain, (lines.offset - line.offset) / line.gain, noise)
        if limited and i:
            return replace(limited, text=f"{limited.text}, and the values are {text}")
    return _free(gain, start)


def _grey_line(levels: Floats, found: Floats) -> tuple[Floats, Floats]:
    """Gain and offset of the luma (BT.601)."""
    if levels.shape[1] != 3:
        return np.ones(1), np.zeros(1)
    weights = np.array([[0.299], [0.587], [0.114]])
    lines = fit_lines(levels @ weights, found @ weights)
    return lines.gain, lines.offset


def _limited(gain: Floats, start: Floats, noise: float) -> Difference | None:
    for (wanted, offset), text in zip(LIMITED, (STRETCHED, SHRUNK), strict=True):
        if np.all(np.abs(gain - wanted) < 0.03 + noise) and np.all(np.abs(start - offset) < 5 + 60 * noise):
            return Difference(step="decode", kind="limited range", text=text)
    return None


def _named_scales(
    spec: PreprocessSpec, tensor: TensorSpec, channels: int
) -> Iterator[tuple[int, str, Scale]]:
    """(position, text, lines) of every named normalisation, real and stored."""
    _, cast = steps_of(spec)
    for i, named in enumerate(normalisations(spec)):
        if named.normalize and len(named.normalize.mean) not in (1, channels):
            continue
        ends = np.repeat(np.array([[0.0], [255.0]], np.float32), channels, axis=1)
        real = (named.normalize.apply(ends) if named.normalize else ends).astype(np.float64)
        yield i, named.text, Scale(gain=(real[1] - real[0]) / 255.0, offset=real[0])
        if tensor.dtype != "float32" and cast.mode == "quantize":
            real = real / tensor.scale + tensor.zero_point
            yield i, named.text, Scale(gain=(real[1] - real[0]) / 255.0, offset=real[0])


def _apart(lines: Lines, line: Scale) -> float:
    """Largest distance at either end of the range, as a share of the range."""
    low = np.abs(lines.offset - line.offset)
    high = np.abs(lines.offset + 255 * lines.gain - line.offset - 255 * line.gain)
    return float(max(low.max(), high.max()) / np.abs(255 * line.gain).max())


def _free(gain: Floats, start: Floats) -> Difference:
    mean_gain, mean_start = float(gain.mean()), float(start.mean())
    if mean_gain < 0:
        text = "the values are negative (light is dark)"
        return Difference(step="normalize", kind="inverted", text=text)
    if abs(mean_gain - 1) < 0.03:
        text = f"the values are shifted by {mean_start:+.3g} levels of 255"
        return Difference(step="normalize", kind="offset", text=text)
    text = f"the values are {mean_gain:.4g} times the spec's, shifted by {mean_start:+.3g} levels of 255"
    return Difference(step="normalize", kind="range", text=text)


def tone_curve(levels: Floats, found: Floats) -> tuple[Difference, float, float | None] | None:
    """A curved function of each level that explains ``found`` much better than lines: the difference,
    what it leaves unexplained, and its gamma (None: another curve). None when lines are as good."""
    straight = fit_lines(levels, found).unexplained
    curved = looked_up(levels, found)
    if straight < 0.0015 or curved > 0.45 * straight:
        return None
    tried = {}
    for gamma in np.exp(np.linspace(np.log(0.3), np.log(3.4), 37)):
        bent = 255.0 * np.power(np.clip(levels, 0, 255) / 255.0, gamma)
        tried[float(gamma)] = fit_lines(bent, found).unexplained
    gamma = min(tried, key=lambda key: tried[key])
    if tried[gamma] <= max(2.0 * curved, 0.35 * straight):
        text = f"the levels follow a gamma curve (about {gamma:.2g})"
        return Difference(step="decode", kind="gamma", text=text), tried[gamma], gamma
    if curved > 0.2 * straight:
        return None
    text = "the levels follow a curve that no straight line explains"
    return Difference(step="decode", kind="tone curve", text=text), curved, None


def wrapped(levels: Floats) -> Floats:
    """What is left of levels whose bytes are read as signed ones."""
    return np.asarray((np.rint(levels) + 128.0) % 256.0 - 128.0)


def looked_up(levels: Floats, found: Floats) -> float:
    """What any function of each channel's level leaves unexplained (variance within equal levels)."""
    total = rest = 0.0
    for c in range(found.shape[1]):
        codes = np.clip(np.rint(levels[:, c]), 0, 255).astype(np.intp)
        counts = np.maximum(np.bincount(codes, minlength=256), 1)
        values = found[:, c].astype(np.float64)
        values = values - values.mean()
        sums = np.bincount(codes, values, minlength=256)
        power = float(values @ values)
        total += power
        rest += power - float(np.sum(sums**2 / counts))
    return rest / total if total > 0 else 1.0


def constant_channels(arrays: Sequence[Floats]) -> bool:
    """Whether every sample is one number throughout."""
    return all(float(np.ptp(array)) == 0.0 for array in arrays)
