"""Faults of sensors and of the preparation of their readings.

A sensor's fault is in one value or in all of them; which one is told by the fault's name. How large
"large" is comes from the recording itself: every strength is in spreads of a value.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Vector
from calibration.replay.fault import Draws

ALONE: Final = 4
"""Values that get faults of their own; further ones are only part of the faults of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """What a recording of D values is like: float64 (D,) each. ``names`` are the values' names, ``used``
    the positions the model is given."""

    names: tuple[str, ...]
    used: tuple[int, ...]
    mean: Vector
    spread: Vector
    low: Vector
    high: Vector


Recent: TypeAlias = NDArray[np.float64]
"""(C, D): a reading, last, and those before it, as many as there are up to CONTEXT."""
Reading: TypeAlias = Callable[[Recent, Usual, Draws], Array]
"""The reading as the faulty sensor gives it, (D,)."""
Behind: TypeAlias = Callable[[Vector], Array]


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorFault:
    """``reading`` acts before the spec; ``behind`` on the vector that standardize is given, where
    features see nothing. Two readings' faults may be joined by ``both``."""

    family: str
    name: str
    reading: Reading | None = None
    behind: Behind | None = None


def both(first: VectorFault, second: VectorFault) -> VectorFault:
    """``first`` in the sensor, then ``second``. Raises ValueError when one acts behind the spec."""
    one, two = first.reading, second.reading
    if one is None or two is None:
        raise ValueError(f"{first.name} and {second.name}: both must act on the reading")

    def reading(recent: Recent, usual: Usual, draws: Draws) -> Array:
        return two(np.vstack([recent[:-1], one(recent, usual, draws)]), usual, draws)

    return VectorFault(
        family=f"{first.family}+{second.family}", name=f"{first.name} + {second.name}", reading=reading
    )


def vector_faults(usual: Usual) -> tuple[VectorFault, ...]:
    """All single faults of a recording like ``usual``, and mixes of two."""
    targets = [("", usual.used)]
    if len(usual.used) > 1:
        # Spread over the columns: neighbours are often of one kind.
        places = np.unique(np.linspace(0, len(usual.used) - 1, ALONE).round().astype(int))
        targets += [(f" of {usual.names[usual.used[at]]}", (usual.used[at],)) for at in places]
    singles = tuple(fault for said, columns in targets for fault in _of(said, columns))
    several = tuple(_of_several(usual)) if len(usual.used) > 1 else ()
    return (*singles, *several, *_mixes({fault.name: fault for fault in singles}))


def _of(said: str, columns: Sequence[int]) -> Iterator[VectorFault]:
    """Every fault of the values in ``columns``."""
    at = list(columns)
    for family, by_name in _SENSOR.items():
        for name, change in by_name.items():
            yield VectorFault(family=f"data:{family}", name=name + said, reading=_changing(change, at))
    for name, fill in (("0", 0.0), ("-1", -1.0), ("999", 999.0)):
        fault = _changing(_filled(0.4, fill), at)
        yield VectorFault(family="preprocess:impute", name=f"missing filled by {name}{said}", reading=fault)


Change: TypeAlias = Callable[[Recent, Usual, Draws], Array]
"""As ``Reading``, of chosen columns alone."""


def _changing(change: Change, at: Sequence[int]) -> Reading:
    columns = list(at)

    def reading(recent: Recent, usual: Usual, draws: Draws) -> Array:
        part = Usual(
            names=tuple(usual.names[column] for column in columns),
            used=tuple(range(len(columns))),
            mean=usual.mean[columns],
            spread=usual.spread[columns],
            low=usual.low[columns],
            high=usual.high[columns],
        )
        made = last(recent).copy()
        made[columns] = change(recent[:, columns], part, draws)
        return made

    return reading


def last(recent: Recent) -> Vector:
    """The reading itself."""
    reading: Vector = recent[-1]
    return reading


def _gain(factor: float) -> Change:
    return lambda recent, usual, _: last(recent) * factor


def _span(factor: float) -> Change:
    return lambda recent, usual, _: usual.mean + factor * (last(recent) - usual.mean)


def _offset(spreads: float) -> Change:
    return lambda recent, usual, _: last(recent) + spreads * usual.spread


def _drift(spreads: float) -> Change:
    """Somewhere on the way from nothing to ``spreads``."""
    return lambda recent, usual, draws: last(recent) + spreads * usual.spread * draws.random()


def _noise(spreads: float) -> Change:
    return lambda recent, usual, draws: (
        last(recent) + draws.normal(0, spreads, len(usual.mean)) * usual.spread
    )


def _uniform_noise(spreads: float) -> Change:
    return lambda recent, usual, draws: (
        last(recent) + draws.uniform(-spreads, spreads, len(usual.mean)) * usual.spread
    )


def _spikes(share: float, spreads: float) -> Change:
    def change(recent: Recent, usual: Usual, draws: Draws) -> Array:
        hit = draws.random(len(usual.mean)) < share
        signs = draws.choice([-1.0, 1.0], len(usual.mean))
        struck: Vector = last(recent) + np.where(hit, spreads * signs, 0.0) * usual.spread
        return struck

    return change


def _stuck(place: float) -> Change:
    """At ``place`` spreads from the mean, for ever."""
    return lambda recent, usual, _: usual.mean + place * usual.spread


def _unit(factor: float, offset: float) -> Change:
    return lambda recent, usual, _: last(recent) * factor + offset


def _clipped(low: float, high: float) -> Change:
    return lambda recent, usual, _: np.clip(
        last(recent), usual.mean + low * usual.spread, usual.mean + high * usual.spread
    )


def _late(readings: int) -> Change:
    return lambda recent, usual, _: recent[max(len(recent) - 1 - readings, 0)]


def _smoothed(readings: int) -> Change:
    return lambda recent, usual, _: np.asarray(np.nanmean(recent[-readings:], axis=0))


def _lost(share: float) -> Change:
    return lambda recent, usual, draws: np.where(draws.random(len(usual.mean)) < share, np.nan, last(recent))


def _filled(share: float, fill: float) -> Change:
    return lambda recent, usual, draws: np.where(draws.random(len(usual.mean)) < share, fill, last(recent))


def _held(share: float) -> Change:
    """Now and then an older reading is delivered again."""
    return lambda recent, usual, draws: recent[0 if draws.random() < share else -1]


def _coarse(spreads: float) -> Change:
    def change(recent: Recent, usual: Usual, _: Draws) -> Array:
        step = np.maximum(spreads * usual.spread, 1e-12)
        return np.rint(last(recent) / step) * step

    return change


def _hum(spreads: float) -> Change:
    return lambda recent, usual, draws: (
        last(recent) + spreads * usual.spread * np.sin(2 * np.pi * draws.random())
    )


def _inverted(recent: Recent, usual: Usual, _: Draws) -> Array:
    return 2 * usual.mean - last(recent)


def _negated(recent: Recent, usual: Usual, _: Draws) -> Array:
    return -last(recent)


def _bent(power: float) -> Change:
    """A response that is no longer a straight line over the usual range."""

    def change(recent: Recent, usual: Usual, _: Draws) -> Array:
        width = np.maximum(usual.high - usual.low, 1e-12)
        share = np.clip((last(recent) - usual.low) / width, 0, 1)
        return usual.low + width * share**power

    return change


_SENSOR: Final[dict[str, dict[str, Change]]] = {
    "gain": {f"gain {factor:g}": _gain(factor) for factor in (0.5, 0.8, 1.25, 2.0)},
    "span": {f"span {factor:g}": _span(factor) for factor in (0.3, 0.6, 1.8)},
    "offset": {f"offset {spreads:+g} sd": _offset(spreads) for spreads in (-3.0, -1.0, -0.4, 0.4, 1.0, 3.0)},
    "drift": {f"drifting to {spreads:+g} sd": _drift(spreads) for spreads in (-3.0, -1.2, 1.2, 3.0)},
    "noise": {
        **{f"normal noise {spreads:g} sd": _noise(spreads) for spreads in (0.4, 1.0, 3.0)},
        "uniform noise 1.5 sd": _uniform_noise(1.5),
    },
    "spikes": {"spikes .05 of 6 sd": _spikes(0.05, 6.0), "spikes .2 of 10 sd": _spikes(0.2, 10.0)},
    "stuck": {"stuck low": _stuck(-1.5), "stuck at the mean": _stuck(0.0), "stuck high": _stuck(1.5)},
    "unit": {
        "inches for centimetres": _unit(1 / 2.54, 0.0),
        "Fahrenheit for Celsius": _unit(1.8, 32.0),
        "Celsius for kelvin": _unit(1.0, -273.15),
        "per cent for shares": _unit(100.0, 0.0),
        "thousandths": _unit(0.001, 0.0),
    },
    "clipping": {"clipped above": _clipped(-99, 0.3), "clipped below": _clipped(-0.3, 99),
                 "clipped both": _clipped(-0.7, 0.7)},
    "lag": {"3 readings late": _late(3), "20 readings late": _late(20), "mean of 3": _smoothed(3),
            "mean of 16": _smoothed(16)},
    "missing": {"missing .2": _lost(0.2), "missing .6": _lost(0.6), "missing": _lost(1.0)},
    "held": {"held .3": _held(0.3), "held .8": _held(0.8)},
    "depth": {"steps of .7 sd": _coarse(0.7), "steps of 2 sd": _coarse(2.0)},
    "hum": {"hum .7 sd": _hum(0.7), "hum 2 sd": _hum(2.0)},
    "inverted": {"mirrored at the mean": _inverted, "sign": _negated},
    "linearity": {"bent by 2": _bent(2.0), "bent by .5": _bent(0.5)},
    "zero": {"0": _unit(0.0, 0.0), "0 in .4": _filled(0.4, 0.0)},
}  # fmt: skip


def _moved(columns: Sequence[int], by: int) -> Reading:
    order = np.roll(np.array(columns), by)

    def reading(recent: Recent, usual: Usual, _: Draws) -> Array:
        made = last(recent).copy()
        made[list(columns)] = last(recent)[order]
        return made

    return reading


def _crosstalk(share: float) -> Reading:
    """Part of each value's neighbour, in its own spreads."""

    def reading(recent: Recent, usual: Usual, _: Draws) -> Array:
        used = list(usual.used)
        scores = (last(recent)[used] - usual.mean[used]) / np.maximum(usual.spread[used], 1e-12)
        made = last(recent).copy()
        made[used] += share * np.roll(scores, 1) * usual.spread[used]
        return made

    return reading


def _decorrelated(columns: Sequence[int]) -> Reading:
    """Each of ``columns`` from another moment: every value usual, their company not."""

    def reading(recent: Recent, usual: Usual, draws: Draws) -> Array:
        made = last(recent).copy()
        for column in columns:
            made[column] = recent[draws.integers(len(recent)), column]
        return made

    return reading


def _of_several(usual: Usual) -> Iterator[VectorFault]:
    used = usual.used
    half = used[: (len(used) + 1) // 2]
    for by in (1, -1) if len(used) > 2 else (1,):
        yield VectorFault(
            family="preprocess:select", name=f"columns moved by {by:+d}", reading=_moved(used, by)
        )
    for one, two in itertools.pairwise(used[: ALONE + 1]):
        name = f"{usual.names[one]} and {usual.names[two]} swapped"
        yield VectorFault(family="preprocess:select", name=name, reading=_moved((one, two), 1))
    for share in (0.3, 0.8):
        yield VectorFault(family="data:crosstalk", name=f"crosstalk {share:g}", reading=_crosstalk(share))
    yield VectorFault(family="data:decorrelated", name="all values", reading=_decorrelated(used))
    yield VectorFault(family="data:decorrelated", name="half of the values", reading=_decorrelated(half))
    for column in used[:ALONE]:
        yield VectorFault(
            family="data:decorrelated", name=usual.names[column], reading=_decorrelated((column,))
        )


def _mixes(found: dict[str, VectorFault]) -> Iterator[VectorFault]:
    pairs = (
        ("gain 0.8", "normal noise 1 sd"),
        ("offset +1 sd", "normal noise 0.4 sd"),
        ("clipped above", "gain 1.25"),
        ("mean of 16", "offset -1 sd"),
        ("spikes .05 of 6 sd", "drifting to +1.2 sd"),
        ("missing .2", "offset +1 sd"),
        ("hum 2 sd", "span 0.6"),
        ("steps of .7 sd", "gain 1.25"),
    )
    for first, second in pairs:
        yield both(found[first], found[second])
