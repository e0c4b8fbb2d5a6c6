"""How much one sampled frame says beyond the last.

Neighbouring frames of a video show the same scene. The integrated autocorrelation time
τ = 1 + 2 Σ ρ(k) says how many samples are worth one independent one: 1 for independent samples, d
for scenes of d samples each, (1 + r) / (1 − r) for a first-order autoregression. The day's slow
change of light is no autocorrelation of this kind, yet would make τ grow without end; so τ is
measured on *chunks*, each freed of its linear trend and only as long as it takes to see τ.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 128, 16_384
"""Samples of a chunk; the longest still measures scenes of 500 samples."""
TIMES_AS_LONG = 32
"""A chunk is long enough when it holds τ so many times: then its own mean and trend take little
of what is to be measured."""
FEWEST = 20
"""Samples below which no correlation is told."""
_WINDOW = 2.0
_CHUNKS = 16
_ENOUGH_CHUNKS = 8
_CONFIRMED = 1.5
MOST_FEATURES = 64

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Autocorrelation:
    """Medians over the features that vary: the integrated autocorrelation time ``tau`` in samples
    (at least 1) and the correlation of neighbours, ``lag_1``. ``settled`` tells whether the series
    was long enough for ``tau``; where not, the true one is probably larger."""

    tau: float
    lag_1: float
    n: int
    settled: bool


def measure(rows: Rows) -> Autocorrelation | None:
    """The autocorrelation of a series (n, F), oldest first, taken from its newest part; None with
    fewer than FEWEST rows, or when no feature varies."""
    if len(rows) < FEWEST:
        return None
    rows = rows[:, :: -(-rows.shape[1] // MOST_FEATURES)]
    longest = min(len(rows), LONGEST)
    length = min(SHORTEST, longest)
    found = _measured(rows, length)
    while length < longest and found is not None:
        # A few chunks may all lie within one scene, and then a longer one shows another.
        doubtful = len(rows) < _ENOUGH_CHUNKS * length
        if found.settled and not doubtful:
            return found
        wanted = max(2.0 * length, TIMES_AS_LONG * found.tau)
        length = min(1 << math.ceil(math.log2(wanted)), longest)
        longer = _measured(rows, length)
        if longer is None or (found.settled and longer.tau <= _CONFIRMED * found.tau):
            return found
        found = longer
    return found


def lag_1(rows: Rows) -> float | None:
    """Median over features of the correlation of neighbours in a series (n, F), freed of its linear
    trend; None with fewer than FEWEST rows, or when no feature varies."""
    if len(rows) < FEWEST:
        return None
    found = _correlations(rows[None], lags=2)
    return None if found is None else float(np.median(found[1]))


def effective(n: float, tau: float) -> float:
    """So many independent samples say as much about a mean as ``n`` of a series with ``tau``."""
    return n / max(tau, 1.0)


def integrated_time(correlations: Floats) -> Floats:
    """τ of each column of autocorrelations (lags from 0, F), summed up to the first lag that is at
    least twice the τ so far: later lags hold noise alone.

    Source: A. Sokal, "Monte Carlo methods in statistical mechanics: foundations and new algorithms"
    (1997), section 3; his τ is half of this one, so his c is 4 here.
    """
    sums = 2.0 * np.cumsum(correlations, axis=0) - 1.0
    lags = np.arange(len(sums))[:, None]
    enough = lags >= _WINDOW * sums
    enough[-1] = True
    taus: Floats = np.take_along_axis(sums, enough.argmax(axis=0)[None], axis=0)[0]
    return taus


def _measured(rows: Rows, length: int) -> Autocorrelation | None:
    chunks = min(len(rows) // length, _CHUNKS)
    series = rows[len(rows) - chunks * length :].reshape(chunks, length, -1)
    correlations = _correlations(series, lags=length // 2)
    if correlations is None:
        return None
    tau = float(np.median(integrated_time(correlations)))
    # Mean and trend of the chunk, which were taken out, held a share of about 2 τ / length of the
    # variance, and made every correlation smaller by it.
    taken = min(2.0 * max(tau, 0.0) / length, 0.5)
    return Autocorrelation(
        tau=max(tau / (1.0 - taken) ** 2, 1.0),
        lag_1=float(np.median(correlations[1])),
        n=chunks * length,
        settled=tau * TIMES_AS_LONG <= length,
    )


def _correlations(series: Rows, *, lags: int) -> Floats | None:
    """Autocorrelations (lags, F') of the features that vary, over all chunks (C, n, F) together."""
    found = []
    length = series.shape[1]
    padded = 1 << (2 * length - 1).bit_length()
    pairs = length - np.arange(lags)
    for at in range(series.shape[2]):
        values = _detrended(series[:, :, at].astype(np.float64))
        if values is None:
            continue
        power = np.abs(np.fft.rfft(values, padded, axis=1)) ** 2
        covariances = np.fft.irfft(power.sum(axis=0), padded)[:lags] / pairs
        found.append(covariances / covariances[0])
    return np.column_stack(found) if found else None


def _detrended(values: Floats) -> Floats | None:
    """Chunks (C, n) less the straight line through each; None when nothing is left."""
    centred = values - values.mean(axis=1, keepdims=True)
    time = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    slopes = centred @ time / (time @ time)
    left: Floats = centred - slopes[:, None] * time
    smallest = 1e-6 * max(float(np.abs(values).max()), 1e-30)
    return left if float(np.sqrt((left**2).mean())) > smallest else None
