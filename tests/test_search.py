"""The search over a model whose answers are written by hand: what it must find and what leave open."""

from collections.abc import Callable

import numpy as np
import pytest

from agent.contracts import Array, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.errors import LabelError
from agent.quantize import dequantize
from calibration.candidate.score import check_labels, is_weak, likelihood_floor, unlabelled
from calibration.evaluation import Evaluation
from calibration.search import Found, search

INPUT = TensorSpec(name="in", shape=(1, 16, 16, 3), dtype="float32")
OUTPUT = TensorSpec(name="out", shape=(1, 9), dtype="float32")


class Handmade:
    """A classifier of 16×16 pictures, written here and not trained: output 0 is "none of them", the
    others are the kinds, by the mean squared distance to each one's prototype."""

    def __init__(self, prototypes: Array, output: TensorSpec = OUTPUT) -> None:
        self.input = INPUT
        self.outputs = (output,)
        self._prototypes = prototypes

    def run(self, tensor: Array) -> tuple[Array, ...]:
        distance = ((tensor - self._prototypes) ** 2).mean(axis=(1, 2, 3))
        logits = -0.002 * np.concatenate([[2_500.0], distance])
        powers = np.exp(logits - logits.max())
        scores = (powers / powers.sum()).astype(np.float32)[None]
        spec = self.outputs[0]
        if spec.quantized:
            scores = np.clip(np.rint(scores / spec.scale), 0, 255).astype(np.uint8)
        return (scores,)


def world(
    rng: np.random.Generator, count: int, made: Callable[[Array], Array], **model: object
) -> tuple[Handmade, list[Array], list[int]]:
    """Pictures of eight smooth kinds with noise; ``made`` is what training did to one."""
    kinds = rng.integers(40, 216, (8, 6, 6, 3)).astype(np.float32)
    labels = rng.integers(1, 9, count).tolist()
    big = [np.clip(np.kron(kind, np.ones((8, 8, 1))), 0, 255) for kind in kinds]
    pictures = [
        np.clip(big[label - 1] + rng.normal(0, 30, (48, 48, 3)), 0, 255).astype(np.uint8) for label in labels
    ]
    prototypes = np.stack([made(kind.astype(np.uint8)) for kind in big])
    return Handmade(prototypes, **model), pictures, labels  # type: ignore[arg-type]


def ask(model: Handmade, pictures: list[Array], labels: list[int] | None) -> Found:
    evaluation = Evaluation(
        model,
        ClassificationDecoder(values="scores"),
        pictures,
        labels if labels is not None else [None] * len(pictures),
        keep_scores=labels is None,
    )
    return search(evaluation, scores=True, watch=lambda inputs, _: inputs)


def caffe_turned(picture: Array) -> Array:
    """BGR, mean colour taken off, turned by 90° clockwise, no crop: each by numpy alone."""
    small = picture.reshape(16, 3, 16, 3, 3).mean(axis=(1, 3))
    made: Array = np.rot90(small[..., ::-1], -1) - np.array([103.939, 116.779, 123.68])
    return made


@pytest.mark.parametrize("labelled", [True, False])
def test_an_unusual_preprocessing_is_found(labelled: bool, rng: np.random.Generator) -> None:
    model, pictures, labels = world(rng, 60, caffe_turned)
    found = ask(model, pictures, labels if labelled else None)
    alike = {(one.candidate.color, one.candidate.values, one.candidate.clockwise) for one in found.alike}
    assert alike == {("bgr", "caffe", 90)}
    # Square pictures: a centre square, no crop and letterbox are the same here.
    assert "squash" in {one.candidate.geometry for one in found.alike}
    assert found.labelled is labelled
    shape_alone = [
        one
        for one in found.ranked
        if {axis for axis, _ in one.candidate.changed(found.best.candidate)} <= {"geometry", "method"}
    ]
    assert any(one.distinguishable for one in shape_alone) is labelled


def test_few_runs_of_the_model(rng: np.random.Generator) -> None:
    model, pictures, labels = world(rng, 60, caffe_turned)
    found = ask(model, pictures, labels)
    assert found.space > 2_000
    assert found.runs < 0.05 * found.space * len(pictures)


def test_stored_zeros_are_no_disaster(rng: np.random.Generator) -> None:
    """An 8-bit softmax stores 0 for most labels; nothing becomes infinite and the answer stays."""
    output = TensorSpec(name="out", shape=(1, 9), dtype="uint8", scale=1 / 256)
    model, pictures, labels = world(rng, 60, caffe_turned, output=output)
    found = ask(model, pictures, labels)
    assert all(np.isfinite(one.score) for one in found.ranked)
    assert min(one.score for one in found.ranked) >= np.log(1 / 512) - 1e-9
    assert found.best.candidate.color == "bgr" and found.best.candidate.clockwise == 90


def test_a_model_without_skill_is_not_explained(rng: np.random.Generator) -> None:
    """Labels that have nothing to do with the pictures: no spec may be called truly worse."""
    model, pictures, _ = world(rng, 60, caffe_turned)
    found = ask(model, pictures, rng.integers(1, 9, 60).tolist())
    assert found.weak
    assert sum(one.distinguishable for one in found.ranked) <= 1


def test_too_few_inputs(rng: np.random.Generator) -> None:
    model, pictures, labels = world(rng, 7, caffe_turned)
    with pytest.raises(ValueError, match="7 inputs, expected at least 8"):
        ask(model, pictures, labels)


def test_the_floor_is_half_a_quantum() -> None:
    stored = TensorSpec(name="out", shape=(1, 4), dtype="uint8", scale=1 / 256)
    assert dequantize(np.array([1], np.uint8), stored)[0] / 2 == pytest.approx(
        np.exp(likelihood_floor(stored, scores=True))
    )
    assert likelihood_floor(stored, scores=False) == pytest.approx(np.log(1e-6))
    assert likelihood_floor(OUTPUT, scores=True) == pytest.approx(np.log(1e-6))


def test_always_the_same_answer_earns_nothing_without_labels() -> None:
    """Three candidates that are sure of one output for every input, and one that tells inputs apart."""
    stuck = np.tile(np.array([0.97, 0.01, 0.01, 0.01], np.float32), (3, 12, 1))
    telling = np.full((1, 12, 4), 0.1, np.float32)
    telling[0, np.arange(12), np.arange(12) % 4] = 0.7
    made = unlabelled(np.concatenate([stuck, telling]), np.log(1e-6)).mean(axis=1)
    np.testing.assert_allclose(made[:3], 0, atol=1e-6)
    # Sure of its own answer; of the others' common one it holds what it holds on average.
    own = np.log(0.7 / 0.25)
    assert made[3] == pytest.approx(
        own / 2 + np.mean([np.log(0.7 / 0.25)] * 3 + [np.log(0.1 / 0.25)] * 9) / 2
    )


def test_shifted_labels() -> None:
    labels = list(range(1, 13))
    right = np.array([labels])
    check_labels(right, labels)
    with pytest.raises(LabelError, match="one too low: 100% of the answers are label \\+1, 0% the label"):
        check_labels(right + 1, labels)
    with pytest.raises(LabelError, match="one too high"):
        check_labels(right - 1, labels)


def test_what_counts_as_weak() -> None:
    many = list(range(200))
    assert is_weak(np.arange(200) < 9, many)
    assert not is_weak(np.arange(200) < 20, many)
    halves = [0] * 100 + [1] * 100
    assert is_weak(np.arange(200) < 104, halves)
    assert not is_weak(np.arange(200) < 120, halves)
