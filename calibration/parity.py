"""For the unit tests of a training repository: its own preprocessing held to the bundle's.

``assert_preprocess_parity`` needs no test framework; it raises AssertionError with the sentence that
says which step differs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.contracts import Array
from agent.errors import InputError
from agent.golden_tensor import restore
from agent.preprocess.compiled import compile_spec
from calibration import tflite_metadata
from calibration.divergence import Divergence, Sample, recognise
from calibration.foreign import numbers

_MOST = 32


def assert_preprocess_parity(
    bundle: Bundle | Path | str,
    preprocess: Callable[[Any], Array],
    *,
    within: Literal["exact", "tolerance"] = "tolerance",
) -> None:
    """Hold ``preprocess`` (bytes of an image file, or a sensor vector's float64 values, to the model's
    input) to the bundle's spec.

    It is called on the bundle's golden inputs. ``tolerance`` lets decoders and resizers differ as far as
    the spec's steps say they may; ``exact`` allows no difference at all. Raises AssertionError naming the
    first step that differs, InputError when the bundle cannot be read or has no golden inputs, and when
    ``preprocess`` returns no array of numbers.
    """
    found = preprocess_divergence(bundle, preprocess)
    allowed = ("exact",) if within == "exact" else ("exact", "tolerance")
    if found.within not in allowed:
        raise AssertionError(f"the preprocessing differs from the bundle's: {found.sentence}")


def preprocess_divergence(bundle: Bundle | Path | str, preprocess: Callable[[Any], Array]) -> Divergence:
    """The same comparison as a value. Raises InputError as above."""
    loaded = bundle if isinstance(bundle, Bundle) else bundles.load(bundle)
    inputs = loaded.golden.inputs[:_MOST]
    if not inputs:
        raise InputError(f"{loaded.name}: has no golden inputs to compare on")
    tensor = tflite_metadata.read(loaded.flatbuffer, where=loaded.name).inputs[0]
    compiled = compile_spec(loaded.spec, tensor)
    samples = [
        Sample(
            payload=golden.payload,
            found=numbers(preprocess(golden.payload), f"preprocess of {golden.name}"),
            expected=restore(golden.tensor, compiled, tensor) if golden.tensor else None,
        )
        for golden in inputs
    ]
    return recognise(samples, loaded.spec, tensor)
