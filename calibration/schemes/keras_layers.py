"""A Keras model as a flat list of layers: what another version of Keras can be told to build."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """``described``: each layer in order with its class, name, config, and the names of the layers that
    feed it; ``made``: the layers themselves, by these names."""

    described: list[dict[str, Any]]
    made: dict[str, Any]
    flat: bool
    model: Any

    def weights(self) -> dict[str, Any]:
        """By the layer's place among ``described`` and the weight's in the layer: ``3_0``."""
        return {
            f"{place}_{number}": weight
            for place, layer in enumerate(self.described)
            for number, weight in enumerate(self.made[layer["name"]].get_weights())
        }

    def outputs(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """What each layer gives for ``inputs``; nothing for a model inside a model."""
        if not self.flat:
            return {}
        names = [layer["name"] for layer in self.described if layer["class"] != "InputLayer"]
        wanted = [self.made[name].output for name in names]
        seen = _model_class(self.model)(self.model.inputs[0], wanted)(inputs, training=False)
        return {name: np.asarray(values) for name, values in zip(names, _listed(seen), strict=True)}


def describe(keras: Any) -> Layers:
    """Models inside the model are unfolded, their layers named ``outer_inner``.

    Raises ValueError for a model of several inputs or outputs, a layer that is used twice, or a model
    that is no graph of layers.
    """
    described: list[dict[str, Any]] = []
    made: dict[str, Any] = {}
    graph = _graph(keras)
    last = _walk(graph, "", {}, described, made)
    if described[-1]["name"] != last:  # the output comes last, by whatever order the layers are listed
        described.sort(key=lambda layer: layer["name"] == last)
    flat = not any(_is_model(layer) for layer in graph.layers)
    return Layers(described=described, made=made, flat=flat, model=graph)


def _walk(
    graph: Any, prefix: str, outer: dict[str, str], described: list[dict[str, Any]], made: dict[str, Any]
) -> str:
    """Append the layers of ``graph``; ``outer``: the name of what feeds its input, empty for the outermost.
    Returns the name of the layer that gives its output."""
    in_graph = [node for nodes in graph._nodes_by_depth.values() for node in nodes]
    known = dict(outer)
    for layer in graph.layers:
        kind = type(layer).__name__
        if kind == "InputLayer" and outer:
            known[layer.name] = outer[""]
            continue
        uses = [node for node in layer._inbound_nodes if any(node is own for own in in_graph)]
        if kind != "InputLayer" and len(uses) != 1:
            raise ValueError(f"the layer {layer.name} is used {len(uses)} times")
        feeding = [] if kind == "InputLayer" else [known[_maker(tensor)] for tensor in uses[0].input_tensors]
        name = prefix + layer.name
        if _is_model(layer):
            inner = _graph(layer)
            known[layer.name] = _walk(inner, f"{name}_", {"": feeding[0]}, described, made)
            continue
        if name in made:
            raise ValueError(f"two layers are called {name}")
        known[layer.name], made[name] = name, layer
        described.append({"class": kind, "name": name, "config": layer.get_config(), "from": feeding})
    return known[_maker(graph.outputs[0])]


def _graph(model: Any) -> Any:
    """A Sequential model keeps its graph inside."""
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth"):
        raise ValueError(f"the model {model.name} is no graph of layers (it has code of its own)")
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(f"the model {model.name} has several inputs or outputs")
    return graph


def _model_class(graph: Any) -> Any:
    """Keras' own, for ``graph`` may be of a class with another constructor."""
    return next(cls for cls in type(graph).__mro__ if cls.__name__ == "Functional")


def _is_model(layer: Any) -> bool:
    return hasattr(layer, "layers") and hasattr(layer, "inputs")


def _maker(tensor: Any) -> str:
    return str(tensor._keras_history.operation.name)


def _listed(values: Any) -> Iterable[Any]:
    return values if isinstance(values, (list, tuple)) else [values]
