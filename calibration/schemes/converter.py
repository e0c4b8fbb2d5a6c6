"""Post-training schemes by TensorFlow's own TFLiteConverter."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import MachineError
from calibration.schemes.quiet import silent
from calibration.schemes.scheme import Made, NotMade, Scheme
from calibration.schemes.trained_model import TrainedModel, tensorflow


def make(
    model: TrainedModel, scheme: Scheme, representative: Sequence[NDArray[np.float32]]
) -> Made | NotMade:
    """``representative``: inputs (1, …) float32 as the model takes them.

    A model the converter refuses (an operator without an int8 form) is NotMade, with its words.
    """
    converter = model.converter()
    try:
        _SETTINGS[scheme.name](converter, representative)
        return Made(scheme=scheme, flatbuffer=bytes(_quietly(converter.convert)))
    except (ValueError, RuntimeError, MachineError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return NotMade(scheme=scheme, reason=f"the converter refuses it: {reason}")
    except Exception as error:  # ConverterError is no public class
        if type(error).__name__ != "ConverterError":
            raise
        return NotMade(
            scheme=scheme, reason=f"the converter refuses it: {' '.join(str(error).split())[:300]}"
        )


def _float32(converter: Any, _: Sequence[Any]) -> None:
    del converter


def _float16(converter: Any, _: Sequence[Any]) -> None:
    tf = tensorflow()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: Any, _: Sequence[Any]) -> None:
    converter.optimizations = [tensorflow().lite.Optimize.DEFAULT]


def _int8(converter: Any, representative: Sequence[NDArray[np.float32]]) -> None:
    tf = tensorflow()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _dataset(representative)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _int8_io(converter: Any, representative: Sequence[NDArray[np.float32]]) -> None:
    _int8(converter, representative)
    converter.inference_input_type = converter.inference_output_type = tensorflow().int8


def _uint8_io(converter: Any, representative: Sequence[NDArray[np.float32]]) -> None:
    _int8(converter, representative)
    converter.inference_input_type = converter.inference_output_type = tensorflow().uint8


def _int8_per_tensor(converter: Any, representative: Sequence[NDArray[np.float32]]) -> None:
    _int8(converter, representative)
    converter._experimental_disable_per_channel = True
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True


def _int16x8(converter: Any, representative: Sequence[NDArray[np.float32]]) -> None:
    tf = tensorflow()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _dataset(representative)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]


_SETTINGS: dict[str, Callable[[Any, Sequence[NDArray[np.float32]]], None]] = {
    "float32": _float32,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": _int8,
    "int8-io": _int8_io,
    "uint8-io": _uint8_io,
    "int8-per-tensor": _int8_per_tensor,
    "int16x8": _int16x8,
}


def _dataset(
    representative: Sequence[NDArray[np.float32]],
) -> Callable[[], Iterator[list[NDArray[np.float32]]]]:
    return lambda: ([one] for one in representative)


def _quietly(convert: Callable[[], bytes]) -> bytes:
    """TensorFlow speaks, from Python and from C++, of what is no trouble of the user's; standard output
    is the result's."""
    import warnings

    with warnings.catch_warnings(), silent():
        warnings.simplefilter("ignore")
        return convert()
