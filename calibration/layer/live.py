"""Ranges that what the device sees now leaves, and the golden inputs did not.

Calibration fixed each tensor's range on yesterday's inputs. A number beyond it is cut off, silently.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from agent.bundle import Bundle
from agent.contracts import Payload, TensorSpec
from agent.errors import FrameError, InputError
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import is_image
from calibration.check_result import LayerError, LayerView
from calibration.labelled import find_images, find_vectors
from calibration.layer.ranges import FIXED

T = TypeVar("T")
INPUTS: Final = 16
"""As many are looked at; more change no number that matters."""
BEYOND: Final = 0.1
"""Of a range's width: how much further than golden inputs."""
MORE: Final = 0.01
"""Share of the numbers cut off that golden inputs have not. The largest number alone says little: between
draws of 16 photographs of one kind it moves by half a range at the scores, the share by .006."""
PREFIX: Final = "live inputs: "
_NAMED = 3
_SEED = 20260101


def drawn(listed: Sequence[T], count: int = INPUTS) -> tuple[T, ...]:
    """``count`` of ``listed`` at random, the same ones each time: a listing's first may be of one kind."""
    order = np.random.default_rng(_SEED).permutation(len(listed))
    return tuple(listed[int(i)] for i in order[:count])


def live_inputs(bundle: Bundle, where: Path, tensor: TensorSpec) -> tuple[Payload, ...]:
    """Up to ``INPUTS`` of the images in a folder (or listed in a CSV), or of a CSV's vectors, drawn; files
    that cannot be used are passed over. Raises InputError when there is none."""
    if not where.exists():
        raise InputError(f"--live: {where}: no such file or folder")
    found = find_images(where, None) if is_image(bundle.spec) else find_vectors(where, None)
    compiled = compile_spec(bundle.spec, tensor)
    usable: list[Payload] = []
    problem = ""
    for one in drawn(found.inputs, len(found)):
        try:
            payload = one.payload()
            compiled(payload)
        except FrameError as error:
            problem = f"{one.name}: {error}"
            continue
        usable.append(payload)
        if len(usable) == INPUTS:
            break
    if not usable:
        raise InputError(f"--live: {where}: no input can be used: {problem}")
    return tuple(usable)


def live_findings(golden: LayerView, live: LayerView) -> tuple[str, ...]:
    """``live``'s tensors whose numbers leave the calibrated range by ``BEYOND`` of its width, and ``MORE`` of
    them, than ``golden``'s (the same tensors over golden inputs) do: one sentence, worst first."""
    beyond: dict[tuple[float, float], tuple[float, str]] = {}  # One entry where a value is only handed on.
    for was, now in zip(golden.layers, live.layers, strict=True):
        (low_before, high_before), (low, high) = _overshoot(was), _overshoot(now)
        upward = high - high_before >= low - low_before
        worst = high - high_before if upward else low - low_before
        if worst > BEYOND and now.saturated - was.saturated > MORE:
            beyond.setdefault(now.seen, (worst, _said(was, now, upward)))
    if not beyond:
        return ()
    entries = sorted(beyond.values(), key=lambda entry: -entry[0])
    listed = "; ".join(sentence for _, sentence in entries[:_NAMED])
    more = f"; and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
    return (
        f"{PREFIX}{listed}{more}. What lies beyond is cut off: calibrate again with representative "
        "inputs that include ones like these.",
    )


def _overshoot(layer: LayerError) -> tuple[float, float]:
    """Below and above the calibrated range, in its widths. Ranges that nothing calibrates have none."""
    if layer.calibrated is None or layer.op in FIXED:
        return 0.0, 0.0
    (low, high), (seen_low, seen_high) = layer.calibrated, layer.seen
    width = max(high - low, 1e-12)
    return max(low - seen_low, 0.0) / width, max(seen_high - high, 0.0) / width


def _said(was: LayerError, now: LayerError, upward: bool) -> str:
    assert now.calibrated is not None  # it has an overshoot
    end = int(upward)
    reach, limit, before = now.seen[end], now.calibrated[end], was.seen[end]
    return (
        f"they reach {reach:.3g} at {now.name} ({now.op}), calibrated to {limit:.3g} (golden: {before:.3g})"
    )
