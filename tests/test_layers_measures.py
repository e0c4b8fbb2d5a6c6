"""A pair's numbers over inputs, against the same worked out at once in double precision."""

import numpy as np
import pytest

from calibration.layer.alignment import Pair
from calibration.layer.graph import GraphTensor
from calibration.layer.measures import Measure, Summing

PAIR = Pair(float=0, quantized=0, op="CONV_2D", named=True, after=())
SCALE, ZERO = 0.05, -28


def tensor(dtype: str = "int8", scales: tuple[float, ...] = (SCALE,)) -> GraphTensor:
    return GraphTensor(
        index=0, name="x", shape=(1, 5, 4), dtype=dtype, scales=np.array(scales),
        zero_points=np.full(len(scales), ZERO), axis=0, content=b"",
    )  # fmt: skip


def measured(pairs: list[tuple[np.ndarray, np.ndarray]], what: GraphTensor, pair: Pair = PAIR) -> Measure:
    summing = Summing(pair, what)
    for twin, stored in pairs:
        summing.add(twin, stored)
    return summing.measure()


def test_signal_to_noise_cosine_and_shares(rng: np.random.Generator) -> None:
    twins = rng.normal(1, 4, (6, 1, 5, 4)).astype(np.float32)
    stored = np.clip(np.round(twins / SCALE) + ZERO, -128, 127).astype(np.int8)
    found = measured(list(zip(twins, stored, strict=True)), tensor())
    real = (stored.astype(float) - ZERO) * SCALE
    noise = np.sum((twins - real) ** 2)
    assert found.snr_db == pytest.approx(10 * np.log10(np.sum(twins.astype(float) ** 2) / noise))
    assert found.cosine == pytest.approx(
        np.dot(twins.ravel(), real.ravel()) / np.linalg.norm(twins) / np.linalg.norm(real), abs=1e-6
    )
    low, high = -5.0, 7.75  # (-128 + 28) * .05 and (127 + 28) * .05
    assert found.calibrated == pytest.approx((low, high))
    assert found.seen == pytest.approx((twins.min(), twins.max()))
    outside = np.mean((twins < low - SCALE * 1.001) | (twins > high + SCALE * 1.001))
    assert found.saturated == outside > 0
    cut = twins - np.clip(twins, low, high)
    assert found.clip_noise == pytest.approx(np.sum(cut.astype(float) ** 2), rel=1e-5)
    assert (found.inputs, found.numbers) == (6, 120)


def test_equal_tensors_have_no_noise() -> None:
    real = np.linspace(-1, 1, 20, dtype=np.float32).reshape(1, 5, 4)
    found = measured([(real, real)], tensor("float32", ()))
    assert found.snr_db is None
    assert found.cosine == 1.0
    assert found.calibrated is None and found.saturated == 0.0


def test_numbers_that_are_not_finite_are_left_out() -> None:
    real = np.ones((1, 5, 4), np.float32)
    broken = real.copy()
    broken[0, 0, :2] = np.nan, np.inf
    found = measured([(broken, real)], tensor("float32", ()))
    assert found.snr_db is None and np.isfinite(found.cosine)


def test_a_tie_is_one_only_where_the_twin_has_none() -> None:
    scores = np.array([[0.2, 0.5, 0.3]]), np.array([[0.4, 0.4, 0.2]]), np.array([[0.1, 0.2, 0.7]])
    stored = np.array([[5, 5, 1]]), np.array([[5, 5, 1]]), np.array([[1, 2, 7]])
    pairs = [
        (one.astype(np.float32), other.astype(np.int8)) for one, other in zip(scores, stored, strict=True)
    ]
    assert measured(pairs, tensor()).ties == 1


def test_nothing_measured_is_said() -> None:
    with pytest.raises(ValueError, match="no input was measured"):
        Summing(PAIR, tensor()).measure()
