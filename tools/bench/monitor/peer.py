"""A peer's half of the comparison; run by an interpreter that has the peer and NumPy.

``python peer.py NAME WINDOWS.npz OUT.json`` reads ``reference`` (N, F) and ``windows`` (W, n, F), and
writes one number a window: how strongly the peer says that it differs, more for more. The bench sets
the threshold. Sequential detectors see the newest reference rows before each window. Each peer is
given every feature, and its most alarmed one counts, where that is not too slow.
"""

import functools
import importlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WARM = 300
"""Reference rows a sequential detector sees first."""
_DELTAS = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-11, 1e-15, 1e-20, 1e-30)
_CONFIDENCE = -3
"""Column of the top score."""
_TINY = 1e-300


def river_adwin(reference: Any, windows: Any) -> Iterator[float]:
    """The smallest of a row of deltas at which any feature fires, as its place in the row."""
    adwin = importlib.import_module("river.drift").ADWIN
    for window in windows:
        yield float(
            max(
                _fired(adwin, np.concatenate([reference[-WARM:, at], window[:, at]]).tolist())
                for at in range(window.shape[1])
            )
        )


def _fired(adwin: Any, values: list[float]) -> int:
    """How many deltas, from lax to strict, fire after the warm-up."""
    for strictness, delta in enumerate(_DELTAS):
        detector, fired = adwin(delta=delta), False
        for number, value in enumerate(values):
            detector.update(value)
            if number >= WARM and detector.drift_detected:
                fired = True
                break
        if not fired:
            return strictness
    return len(_DELTAS)


def river_page_hinkley(reference: Any, windows: Any) -> Iterator[float]:
    """The largest test statistic of any feature."""
    page_hinkley = importlib.import_module("river.drift").PageHinkley
    for window in windows:
        found = 0.0
        for at in range(window.shape[1]):
            detector = page_hinkley(threshold=float("inf"))
            for number, value in enumerate(np.concatenate([reference[-WARM:, at], window[:, at]]).tolist()):
                detector.update(value)
                if number >= WARM:
                    rise = detector._sum_increase - detector._min_increase
                    fall = detector._max_decrease - detector._sum_decrease
                    found = max(found, rise, fall)
        yield found


def river_kswin(reference: Any, windows: Any) -> Iterator[float]:
    """The smallest p-value on the confidence alone: a test at every frame is too slow for more."""
    kswin = importlib.import_module("river.drift").KSWIN
    for window in windows:
        detector, least = kswin(alpha=1e-12, seed=1), 1.0
        values = np.concatenate([reference[-WARM:, _CONFIDENCE], window[:, _CONFIDENCE]])
        for number, value in enumerate(values.tolist()):
            detector.update(value)
            if number >= WARM:
                least = min(least, float(detector.p_value))
        yield -float(np.log(max(least, _TINY)))


def frouros_ks(reference: Any, windows: Any) -> Iterator[float]:
    yield from _batch("KSTest", reference, windows, lambda result: -np.log(max(result.p_value, _TINY)))


def frouros_psi(reference: Any, windows: Any) -> Iterator[float]:
    yield from _batch("PSI", reference, windows, lambda result: result.distance)


def _batch(kind: str, reference: Any, windows: Any, strength: Callable[[Any], float]) -> Iterator[float]:
    """The largest of any feature."""
    module = importlib.import_module("frouros.detectors.data_drift")
    detectors = []
    for at in range(reference.shape[1]):
        detector = getattr(module, kind)()
        detector.fit(X=reference[:, at])
        detectors.append(detector)
    for window in windows:
        told = [detector.compare(X=window[:, at])[0] for at, detector in enumerate(detectors)]
        yield max(float(strength(one)) for one in told)


def frouros_mmd(reference: Any, windows: Any) -> Iterator[float]:
    kernel = importlib.import_module("frouros.utils.kernels").rbf_kernel
    # Its own kernel is one standard deviation wide, next to which 33 features are all far apart.
    width = float(np.sqrt(reference.shape[1]))
    detector = importlib.import_module("frouros.detectors.data_drift").MMD(
        kernel=functools.partial(kernel, sigma=width)
    )
    detector.fit(X=reference[:500])
    for window in windows:
        yield float(detector.compare(X=window)[0].distance)


def alibi_online_mmd(reference: Any, windows: Any) -> Iterator[float]:
    """The largest test statistic while the window passes by."""
    online = importlib.import_module("alibi_detect.cd").MMDDriftOnline
    detector = online(
        reference[:600].astype(np.float32),
        ert=100,
        window_size=100,
        backend="tensorflow",
        n_bootstraps=400,
        verbose=False,
    )
    for window in windows:
        reset = getattr(detector, "reset_state", None) or detector.reset
        reset()
        told = [float(detector.predict(row.astype(np.float32))["data"]["test_stat"]) for row in window]
        yield max(told[100:])


def whylogs_ks(reference: Any, windows: Any) -> Iterator[float]:
    """The largest of any feature: distance of its KLL sketches."""
    pandas = importlib.import_module("pandas")
    why = importlib.import_module("whylogs")
    measure = importlib.import_module("whylogs.viz.drift.column_drift_algorithms").KS()
    names = [f"f{at}" for at in range(reference.shape[1])]
    known = why.log(pandas.DataFrame(reference, columns=names)).view()
    for window in windows:
        seen = why.log(pandas.DataFrame(window, columns=names)).view()
        told = [measure.calculate(seen.get_column(name), known.get_column(name)) for name in names]
        yield max(-float(np.log(max(one.pvalue, _TINY))) for one in told if one is not None)


def evidently_preset(reference: Any, windows: Any) -> Iterator[float]:
    """The most drifted feature by its Data Drift preset (KS below 1,000 reference rows)."""
    pandas = importlib.import_module("pandas")
    report = importlib.import_module("evidently").Report
    preset = importlib.import_module("evidently.presets").DataDriftPreset
    names = [f"f{at}" for at in range(reference.shape[1])]
    known = pandas.DataFrame(reference[:900], columns=names)
    for window in windows:
        told = report([preset()]).run(pandas.DataFrame(window, columns=names), known).dict()["metrics"]
        p_values = [float(one["value"]) for one in told if one["metric_name"].startswith("ValueDrift")]
        yield -float(np.log(max(min(p_values), _TINY)))


PEERS: dict[str, Callable[[Any, Any], Iterator[float]]] = {
    "river-adwin": river_adwin,
    "river-page-hinkley": river_page_hinkley,
    "river-kswin": river_kswin,
    "frouros-ks": frouros_ks,
    "frouros-psi": frouros_psi,
    "frouros-mmd": frouros_mmd,
    "alibi-online-mmd": alibi_online_mmd,
    "whylogs-ks": whylogs_ks,
    "evidently-preset": evidently_preset,
}


def main(name: str, windows: str, out: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with np.load(windows) as given:
        reference, every = given["reference"].astype(np.float64), given["windows"].astype(np.float64)
    mean, spread = reference.mean(axis=0), reference.std(axis=0) + 1e-12
    # Standardized, as every one of their tutorials begins.
    begin = time.process_time()
    told = list(PEERS[name]((reference - mean) / spread, (every - mean) / spread))
    seconds = (time.process_time() - begin) / max(len(every), 1)
    Path(out).write_text(json.dumps({"statistics": told, "seconds_a_window": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
