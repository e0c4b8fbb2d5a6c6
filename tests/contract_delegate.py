"""What every kind of delegate promises; a test class per kind and per way of running it inherits it."""

import gc
import io
import zipfile
from importlib import metadata
from typing import Any

import numpy as np
import pytest
import tiny

from agent.contracts import Runner, TensorSpec
from agent.errors import BundleError, DelegateError
from agent.runtime import KINDS
from agent.runtime.interpreter import open_runner
from agent.structure import structure_kind


def image(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((1, 8, 8, 3), (red, green, blue), np.uint8)


class DelegateContract:
    """``linear``, ``classifier``, ``detector`` and ``free_batch`` are those of ``tiny`` in the form this
    kind runs."""

    kind: str
    linear, classifier, detector = tiny.LINEAR, tiny.CLASSIFIER, tiny.DETECTOR
    free_batch = tiny.FREE_BATCH

    def delegate(self) -> Any:
        return structure_kind(self.kind, KINDS, root="model.delegate", shorthand=True)

    def open(self, model: bytes, *, threads: int = 1) -> Runner:
        return open_runner(self.delegate(), model, runtime=tiny.runtime(), threads=threads)

    def test_says_what_runs(self) -> None:
        info = self.open(self.linear, threads=2).info
        assert info.version == metadata.version(info.runtime)
        assert (info.delegate, info.threads) == (self.kind, 2)

    def test_says_what_the_model_takes_and_gives(self) -> None:
        runner = self.open(self.classifier)
        assert runner.input == TensorSpec(
            name="image", shape=(1, 8, 8, 3), dtype="uint8", scale=float(np.float32(1 / 255)), zero_point=0
        )
        scores = TensorSpec(name="scores", shape=(1, 4), dtype="uint8", scale=1 / 256, zero_point=0)
        assert runner.outputs == (scores,)

    def test_computes(self) -> None:
        runner = self.open(self.linear)
        assert runner.outputs == (TensorSpec(name="y", shape=(1, 1), dtype="float32"),)
        values = [runner.run(np.array([[x]], np.float32))[0].tolist() for x in (-3.0, 0.0, 5.0)]
        assert values == [[[-5.0]], [[1.0]], [[11.0]]]

    @pytest.mark.parametrize(("colour", "winner"), [((200, 60, 0), 1), ((0, 200, 60), 2), ((60, 0, 200), 3)])
    def test_classifies(self, colour: tuple[int, int, int], winner: int) -> None:
        (scores,) = self.open(self.classifier, threads=2).run(image(*colour))
        assert scores.dtype == np.uint8
        assert int(scores.argmax()) == winner

    def test_gives_every_output_in_the_models_order(self) -> None:
        picture = np.zeros((1, 8, 8, 3), np.uint8)
        picture[:, :, 4:] = 153
        boxes, classes, scores, count = self.open(self.detector).run(picture)
        assert boxes.tolist() == [[[0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]]]
        assert classes.tolist() == [[0.0, 1.0]]
        np.testing.assert_allclose(scores, [[0.0, 0.6]], atol=1e-5)
        assert count.tolist() == [2.0]

    def test_outputs_belong_to_the_caller(self) -> None:
        runner = self.open(self.linear)
        (first,) = runner.run(np.array([[1.0]], np.float32))
        runner.run(np.array([[2.0]], np.float32))
        assert first.tolist() == [[3.0]]
        first[0, 0] = 9.0  # and may be written to without harm to the next run
        assert runner.run(np.array([[1.0]], np.float32))[0].tolist() == [[3.0]]

    def test_keeps_the_model_alive(self) -> None:
        content = bytes(bytearray(self.classifier))
        runner = self.open(content)
        before = runner.run(image(200, 60, 0))[0]
        del content
        gc.collect()
        overwriting = [bytes([255]) * len(self.classifier) for _ in range(200)]
        assert np.array_equal(runner.run(image(200, 60, 0))[0], before)
        assert len(overwriting) == 200

    def test_files_appended_to_the_model_do_not_matter(self) -> None:
        content = io.BytesIO(self.linear)
        with zipfile.ZipFile(content, "a") as archive:
            archive.writestr("labels.txt", "one\ntwo\n")
        runner = self.open(content.getvalue())
        assert runner.run(np.array([[3.0]], np.float32))[0].tolist() == [[7.0]]

    def test_a_free_batch_axis_runs_as_one(self) -> None:
        runner = self.open(self.free_batch)
        assert runner.input.shape == (1, 3)
        assert runner.run(np.array([[-1, 0, 2]], np.float32))[0].tolist() == [[0.0, 0.0, 2.0]]

    @pytest.mark.parametrize(
        "tensor", [np.zeros((1, 2), np.float32), np.zeros(1, np.float32), np.zeros((1, 1), np.float64)]
    )
    def test_a_tensor_for_another_model_is_named(self, tensor: np.ndarray) -> None:
        expected = f"input 'x' takes float32 (1, 1), got {tensor.dtype} {tensor.shape}: "
        with pytest.raises(ValueError, match="input 'x'") as caught:
            self.open(self.linear).run(tensor)
        assert str(caught.value).startswith(expected)

    def test_a_closed_runner_says_so(self) -> None:
        runner = self.open(self.linear)
        runner.close()
        runner.close()
        with pytest.raises(DelegateError, match="closed"):
            runner.run(np.array([[1.0]], np.float32))

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (tiny.TWO_INPUTS, "model: expected one input, got 2 (a, b)"),
            (
                tiny.BATCH_OF_8,
                "model: input 'x' has a batch of 8, shape (8, 3); export it with 1",
            ),
            (
                tiny.FREE_SIZE,
                "model: input 'x' has the free shape (1, -1, -1, 3); export it with a fixed one",
            ),
            (b"", "model: not a .tflite file (bytes 4 to 8 are not TFL3)"),
            (b"PK\x03\x04 a zip file", "model: not a .tflite file (bytes 4 to 8 are not TFL3)"),
            (
                tiny.CLASSIFIER[:1000],
                "model: damaged or truncated: a Model table in it lacks what is needed or points "
                "outside its 1000 bytes",
            ),
        ],
    )
    def test_a_model_that_cannot_be_used_gives_one_clear_message(self, model: bytes, message: str) -> None:
        with pytest.raises(BundleError) as caught:
            self.open(model)
        assert caught.value.problems == (message,)

    def test_an_operator_nobody_has_is_named(self) -> None:
        name = tiny.runtime().name
        with pytest.raises(
            BundleError, match=rf"^model: {name} \S+ does not have its operator NobodyKnowsThisOp;"
        ):
            self.open(tiny.UNKNOWN_OP)
