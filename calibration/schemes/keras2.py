"""The described model (``keras_layers``) in Keras 2: layer by layer, nothing dropped in silence."""

import inspect
from typing import Any

import numpy as np

SAME = 1e-4
"""How far the rebuilt model's numbers may be from the original's, against the largest of them."""
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
_NEVER = ("initializer", "regularizer", "constraint")
"""Ends of options that say how weights begin or are held; ours are trained."""
_HARMLESS = ("dtype", "autocast", "build_config", "registered_name", "module", "quantization_config")


class CannotRebuildError(Exception):
    """Says in words for people why the model cannot be had in Keras 2."""


def build(described: list[dict[str, Any]], keras: Any) -> Any:
    """The model with fresh weights. Raises CannotRebuildError."""
    made: dict[str, Any] = {}
    first = last = None
    for layer in described:
        if layer["class"] == "InputLayer":
            first = last = keras.Input(tuple(layer["config"]["batch_shape"][1:]), name=layer["name"])
        else:
            inputs = [made[name] for name in layer["from"]]
            last = _layer(layer, keras)(inputs[0] if len(inputs) == 1 else inputs)
        made[layer["name"]] = last
    return keras.Model(first, last)


def set_weights(model: Any, described: list[dict[str, Any]], weights: dict[str, Any]) -> None:
    """``weights``: by place and number, as ``Layers.weights`` gives them."""
    for place, layer in enumerate(described):
        own = [weights[f"{place}_{i}"] for i in range(sum(key.startswith(f"{place}_") for key in weights))]
        if own:
            model.get_layer(layer["name"]).set_weights(own)


def check_same(model: Any, keras: Any, sample: dict[str, Any]) -> None:
    """Raises CannotRebuildError, naming the first layer that differs where known, when ``model`` does
    not give ``sample["output"]`` for ``sample["inputs"]``."""
    if _close(model(sample["inputs"], training=False).numpy(), sample["output"]):
        return
    where = ""
    for layer in model.layers:
        expected = sample.get(f"layer/{layer.name}")
        if expected is not None:
            found = keras.Model(model.input, layer.output)(sample["inputs"], training=False).numpy()
            if not _close(found, expected):
                where = f", first behind the layer {layer.name} ({type(layer).__name__})"
                break
    raise CannotRebuildError(
        f"built in Keras 2, which quantization-aware training needs, it gives other numbers{where}"
    )


def _close(found: Any, expected: Any) -> bool:
    if found.shape != expected.shape:
        return False
    return bool(
        np.abs(found - expected).max(initial=0.0) <= SAME * max(1.0, np.abs(expected).max(initial=0.0))
    )


def _layer(layer: dict[str, Any], keras: Any) -> Any:
    name, kind = layer["name"], layer["class"]
    made = getattr(keras.layers, kind, None)
    if made is None:
        raise CannotRebuildError(
            f"Keras 2, which quantization-aware training needs, has no layer {kind} ({name})"
        )
    known = {
        option
        for cls in made.__mro__
        if cls is not object
        for option in inspect.signature(cls.__init__).parameters
    }
    options = {}
    for option, value in layer["config"].items():
        there = _RENAMED.get((kind, option), option)
        if option in _HARMLESS or option.endswith(_NEVER):
            continue
        if there in known:
            options[there] = value
        elif value not in (None, False):  # an option that is off asks for nothing
            raise CannotRebuildError(
                f"Keras 2, which quantization-aware training needs, does not know the option "
                f"{option}={value!r} of the layer {name} ({kind})"
            )
    try:
        return made(**{**options, "name": name})
    except (TypeError, ValueError) as error:
        raise CannotRebuildError(f"Keras 2 cannot make the layer {name} ({kind}): {error}") from None
