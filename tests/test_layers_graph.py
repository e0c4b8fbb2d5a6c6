"""A model's graph as read from its bytes, held against what the runtime says of the same file."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tiny
import twins

from agent.errors import BundleError
from calibration.layer.graph import read_graph

PACK = (
    "models/mobilenet_v1_0.25_224_quant.tflite",
    "models_derived/mnv1_025_ptq_int8_perchannel_calib100_ok.tflite",
    "models_derived/mnv1_025_dynamic_wi8_afp32.tflite",
)


def assert_as_the_runtime_says(content: bytes) -> None:
    module = import_module(tiny.runtime().module)
    resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = module.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    graph = twins.graph(content)
    for details in interpreter.get_tensor_details()[: len(graph.tensors)]:
        tensor = graph.tensors[details["index"]]
        quantization = details["quantization_parameters"]
        assert tensor.name == details["name"]
        assert tensor.shape == tuple(details["shape"])
        assert tensor.dtype == np.dtype(details["dtype"]).name
        np.testing.assert_array_equal(tensor.scales.astype(np.float32), quantization["scales"])
        np.testing.assert_array_equal(tensor.zero_points, quantization["zero_points"])
        if tensor.scales.size > 1:
            assert tensor.axis == quantization["quantized_dimension"]
        if tensor.constant:
            np.testing.assert_array_equal(tensor.stored, interpreter.get_tensor(tensor.index))
    operators = interpreter._get_ops_details()
    assert [one.kind for one in graph.operators] == [one["op_name"] for one in operators]
    for one, other in zip(graph.operators, operators, strict=True):
        assert list(one.outputs) == list(other["outputs"])
        assert [tensor for tensor in one.inputs if tensor >= 0] == [i for i in other["inputs"] if i >= 0]


@pytest.mark.runtime
@pytest.mark.parametrize("name", ["float", "good", "per_tensor"])
def test_a_graph_is_what_the_runtime_says(name: str) -> None:
    assert_as_the_runtime_says(twins.twin(name))


@pytest.mark.runtime
@pytest.mark.parametrize("name", PACK)
def test_also_constants_behind_the_flatbuffer_and_old_operator_codes(data: Path, name: str) -> None:
    assert_as_the_runtime_says((data / name).read_bytes())


@pytest.mark.parametrize("size", [0, 8, 100, 2000, 7000])
def test_a_truncated_model_is_refused(size: int) -> None:
    with pytest.raises(BundleError, match="float model: the model is damaged"):
        read_graph(twins.twin("good")[:size], where="float model")
