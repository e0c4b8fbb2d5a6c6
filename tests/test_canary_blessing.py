"""What may be blessed, what a difference is, and the file that remembers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.blessings import BlessingsFile
from agent.contracts import Array, Classification, Detections, Prediction, Regression, RunnerInfo, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.regression import RegressionDecoder
from agent.monitor.answer_distance import distance
from agent.monitor.blessing import NOISES, REPEATS, Candidate, Reference, plainly_wrong
from agent.monitor.blessings import MOST, Blessings
from agent.monitor.canary import CanaryInput, CanaryOptions, Key, difference
from tools.bench.canary_coverage import flipped

SCORES = TensorSpec(name="scores", shape=(1, 4), dtype="uint8", scale=1 / 256)
REAL = TensorSpec(name="value", shape=(1, 2), dtype="float32")
KEY = Key(
    runtime="ai-edge-litert",
    version="2.3.0",
    delegate="edgetpu",
    kernels="builtin",
    threads=1,
    model_sha256="a" * 64,
    cpu="Cortex-A76",
)


def scores(*values: int) -> Array:
    return np.array([values], np.uint8)


def golden(count: int = 4) -> list[CanaryInput]:
    tensors = [np.full((1, 2), 10 * number + 50, np.uint8) for number in range(count)]
    return [
        CanaryInput(name=f"{number}.png", tensor=tensor, outputs=(model(tensor),), level=np.float64(1.0))
        for number, tensor in enumerate(tensors)
    ]


def model(tensor: Array) -> Array:
    """A model of its own: two scores that follow the input, quantized."""
    first = int(tensor.astype(int).sum()) // 2
    return scores(first, 256 - first - 1, 0, 1)


def bless(device, inputs: list[CanaryInput] | None = None) -> Candidate:  # type: ignore[no-untyped-def]
    """Run a candidate to its end on ``device``, a function of the tensor and the run's number."""
    inputs = inputs or golden()
    candidate = Candidate(
        inputs, (SCORES,), Reference(inputs, (SCORES,), ClassificationDecoder(values="scores"))
    )
    runs = 0
    while not candidate.done:
        candidate.take((device(candidate.tensor, runs),))
        runs += 1
    return candidate


def test_the_recorded_model_is_blessed() -> None:
    inputs = golden()
    candidate = bless(lambda tensor, run: model(tensor), inputs)
    assert candidate.refused == ""
    assert candidate.wobbles == 0.0
    assert [answer[0].tolist() for answer in candidate.answers] == [
        given.outputs[0].tolist() for given in inputs
    ]


def test_every_input_is_run_three_times_and_with_three_draws_of_noise() -> None:
    seen: list[bytes] = []
    bless(lambda tensor, run: (seen.append(tensor.tobytes()), model(tensor))[1])
    inputs = [given.tensor.tobytes() for given in golden()]
    assert seen[: 4 * (1 + REPEATS)] == inputs * (1 + REPEATS)
    noisy = seen[4 * (1 + REPEATS) :]
    assert len(noisy) == 4 * NOISES
    for number, tensor in enumerate(noisy):
        moved = np.frombuffer(tensor, np.uint8).astype(int) - np.frombuffer(inputs[number % 4], np.uint8)
        assert np.abs(moved).max() <= 1


def test_rounding_is_blessed() -> None:
    """Every answer is one level of 256 from the recorded; noise moves them as far."""
    off = np.array([[1, 0, 0, 0]], np.uint8)
    candidate = bless(lambda tensor, run: model(tensor) + off)
    assert candidate.refused == ""
    assert 0 < candidate.wobbles < 1.3


def test_a_faulty_device_cannot_bless_itself() -> None:
    """It repeats itself perfectly, and computes something else."""
    candidate = bless(lambda tensor, run: np.roll(model(tensor), 1))
    assert candidate.refused.startswith("the answers lie ")
    assert candidate.refused.endswith(
        "times as far from the recorded ones as input noise moves them, 1.3 is allowed"
    )


def test_a_device_whose_answers_jump_with_any_noise_cannot_bless_itself() -> None:
    """Its own noise would be a measure wide enough for anything."""

    def hash_of(tensor: Array, run: int) -> Array:
        rng = np.random.default_rng([1, *tensor.ravel().tolist()])
        one = int(rng.integers(4))
        return scores(*(255 if place == one else 0 for place in range(4)))

    assert bless(hash_of).refused != ""


def test_a_device_that_does_not_repeat_itself_is_not_blessed() -> None:
    def flaky(tensor: Array, run: int) -> Array:
        answer = model(tensor)
        answer[0, 0] ^= run == 6
        return answer

    candidate = bless(flaky)
    assert candidate.refused == (
        "golden input '2.png' was not answered alike twice: "
        "output 'scores': 1 of 4 values differ, by up to 1 levels"
    )


def test_no_number_is_not_blessed() -> None:
    inputs = [
        CanaryInput(
            name=f"{number}",
            tensor=np.array([[number]], np.float32),
            outputs=(np.array([[number, 2 * number]], np.float32),),
            level=np.float64(1 / 255),
        )
        for number in range(3)
    ]
    reference = Reference(inputs, (REAL,), RegressionDecoder())
    candidate = Candidate(inputs, (REAL,), reference)
    while not candidate.done:
        candidate.take((np.full((1, 2), np.nan, np.float32),))
    assert "inf times as far" in candidate.refused
    assert plainly_wrong(reference.away([(np.full((1, 2), np.nan, np.float32),)] * 3))
    assert not plainly_wrong(reference.away([given.outputs for given in inputs]))


def test_values_are_measured_in_their_own_range() -> None:
    """A hundredth of the range away is a hundredth, whatever the unit."""
    for unit in (1e-3, 1.0, 1e6):
        inputs = [
            CanaryInput(
                name=f"{number}",
                tensor=np.array([[number]], np.float32),
                outputs=(np.array([[number * unit, 0]], np.float32),),
                level=np.float64(1),
            )
            for number in range(11)
        ]
        reference = Reference(inputs, (REAL,), RegressionDecoder())
        off = [(given.outputs[0] + np.float32(0.1 * unit),) for given in inputs]
        assert reference.away(off) == pytest.approx(0.01, rel=1e-4)


def test_whole_numbers_repeat_bit_for_bit() -> None:
    was = (scores(1, 2, 3, 250),)
    assert difference(was, (scores(1, 2, 3, 250),), (SCORES,)) is None
    found = difference(was, (scores(1, 3, 3, 0),), (SCORES,))
    assert str(found) == "output 'scores': 2 of 4 values differ, by up to 250 levels"


def test_real_numbers_repeat_within_tolerance() -> None:
    was = np.array([[100.0, 1e-4]], np.float32)
    assert difference((was,), (was + np.float32(0.9e-3),), (REAL,)) is None
    found = difference((was,), (was + np.float32([[0, 0.01]]),), (REAL,))
    assert found is not None
    assert (found.differing, found.values, found.whole) == (1, 2, False)
    assert found.largest == pytest.approx(0.01, rel=1e-3)


def test_what_is_not_finite_differs_unless_it_was_so_before() -> None:
    nan, fine = np.array([[np.nan, 1]], np.float32), np.array([[1, 1]], np.float32)
    found = difference((fine,), (nan,), (REAL,))
    assert str(found) == "output 'value': 1 of 2 values differ, of another shape or not finite"
    assert difference((nan,), (nan.copy(),), (REAL,)) is None
    infinite = np.array([[np.inf, -np.inf]], np.float32)
    assert difference((infinite,), (infinite + np.float32(0),), (REAL,)) is None
    assert difference((infinite,), (-infinite,), (REAL,)) is not None


def test_another_shape_differs() -> None:
    found = difference((np.zeros((1, 3), np.float32),), (np.zeros((1, 2), np.float32),), (REAL,))
    assert found is not None and found.largest is None


def test_the_worst_output_is_named() -> None:
    specs = (SCORES, replace(SCORES, name="other\x1b[2J"))
    found = difference(
        (scores(1, 2, 3, 4), scores(1, 2, 3, 4)), (scores(9, 2, 3, 4), scores(0, 0, 0, 4)), specs
    )
    assert str(found) == "output 'other�[2J': 3 of 4 values differ, by up to 3 levels"


@given(
    arrays(np.float32, (5,), elements=st.floats(width=32)),
    arrays(np.float32, (5,), elements=st.floats(width=32)),
)
@settings(max_examples=200, deadline=None)
def test_a_difference_is_symmetric_in_what_it_finds_at_all_scales(a: Array, b: Array) -> None:
    spec = TensorSpec(name="x", shape=(5,), dtype="float32")
    assert difference((a,), (a.copy(),), (spec,)) is None
    found = difference((a,), (b,), (spec,))
    if found is None:
        scale = np.abs(a[np.isfinite(a)]).max(initial=0)
        both = np.isfinite(a) & np.isfinite(b)
        assert np.array_equal(np.isfinite(a), np.isfinite(b))
        assert np.abs(a[both].astype(float) - b[both]).max(initial=0) <= 1e-5 * float(scale)


OUTPUTS = st.lists(
    arrays(
        st.sampled_from([np.uint8, np.int8, np.float32, np.int64]),
        st.sampled_from([(1, 4), (2,), (0,), (1, 2, 2)]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


@given(st.lists(OUTPUTS, min_size=1, max_size=4), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_file_gives_back_what_it_was_given(answers: list[tuple[Array, ...]], cut: int) -> None:
    tensors = [f"{number:064x}" for number in range(len(answers))]
    known = (
        Blessings().adding(KEY, tensors, answers).adding(replace(KEY, delegate="cpu"), tensors, answers[::-1])
    )
    data = known.encode()
    read = Blessings.decode(data)
    for key, wanted in ((KEY, answers), (replace(KEY, delegate="cpu"), answers[::-1])):
        found = read.of(key, tensors)
        assert found is not None
        for one, other in zip(found, wanted, strict=True):
            assert [(a.dtype, a.shape, a.tobytes()) for a in one] == [
                (a.dtype, a.shape, a.tobytes()) for a in other
            ]
    for damaged in (data[: cut % len(data)], data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(ValueError):
            Blessings.decode(damaged)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_a_foreign_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Blessings.decode(data)


@pytest.mark.parametrize(
    "field", ["runtime", "version", "delegate", "kernels", "model_sha256", "cpu", "threads"]
)
def test_every_part_of_the_key_counts(field: str) -> None:
    known = Blessings().adding(KEY, ["t"], [(scores(1, 2, 3, 4),)])
    other = replace(KEY, **{field: 2 if field == "threads" else "another"})
    assert known.of(KEY, ["t"]) is not None
    assert known.of(other, ["t"]) is None
    assert known.of(KEY, ["t", "another tensor"]) is None


def test_only_the_newest_ways_of_computing_are_kept() -> None:
    known = Blessings()
    for number in range(MOST + 2):
        known = known.adding(replace(KEY, threads=number), ["t"], [(scores(1, 2, 3, 4),)])
    assert [blessing.key.threads for blessing in known.known] == list(range(MOST + 1, 1, -1))


def test_the_key_of_a_runner() -> None:
    info = RunnerInfo(
        runtime="r", version="1", delegate="cpu", kernels="xnnpack", threads=4, ops_total=9, ops_delegated=8
    )
    assert Key.of(info, model_sha256="b", cpu="c") == Key(
        runtime="r", version="1", delegate="cpu", kernels="xnnpack", threads=4, model_sha256="b", cpu="c"
    )


def test_the_file_on_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = BlessingsFile(tmp_path / "blessings.bin")
    assert file.load() == Blessings()
    assert caplog.text == ""
    file.save(Blessings().adding(KEY, ["t"], [(scores(1, 2, 3, 4),)]))
    found = file.load().of(KEY, ["t"])
    assert found is not None and found[0][0].tolist() == [[1, 2, 3, 4]]
    assert [path.name for path in tmp_path.iterdir()] == ["blessings.bin"]
    (tmp_path / "blessings.bin").write_bytes(b"torn")
    assert file.load() == Blessings()
    assert "the device is blessed anew" in caplog.text


def test_a_file_that_cannot_be_written_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    BlessingsFile(tmp_path / "absent" / "blessings.bin").save(Blessings())
    assert "blessings.bin not kept: No such file or directory" in caplog.text
    BlessingsFile(tmp_path).save(Blessings())
    assert BlessingsFile(tmp_path).load() == Blessings()


def classes(*values: float) -> Classification:
    given = np.array(values, np.float32)
    return Classification(scores=given, top=int(given.argmax()), score=float(given.max()))


def boxes(*given: tuple[float, int, float]) -> Detections:
    """(left edge, class, score) of boxes half as wide as the picture."""
    return Detections(
        boxes=np.array([(0, x, 1, x + 0.5) for x, _, _ in given], np.float32).reshape(-1, 4),
        classes=np.array([label for _, label, _ in given], np.int64),
        scores=np.array([score for _, _, score in given], np.float32),
    )


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        (classes(0.5, 0.5), classes(0.5, 0.5), 0.0),
        (classes(1, 0), classes(0, 1), 1.0),
        (classes(1, 0), classes(np.nan, 1), 1.0),
        (classes(1, 0), None, 1.0),
        (None, None, 0.0),
        (Regression(values=np.array([1.0, 2.0])), Regression(values=np.array([1.5, 0.0])), 2.0),
        (Regression(values=np.array([1.0])), None, float("inf")),
        (boxes((0, 1, 0.9)), boxes((0.01, 1, 0.8)), 0.1),
        (boxes((0, 1, 0.9)), boxes((0, 2, 0.9)), 0.9),
        (boxes((0, 1, 0.9), (0.5, 1, 0.5)), boxes((0.5, 1, 0.5), (0, 1, 0.9)), 0.0),
        (boxes(), boxes(), 0.0),
    ],
)
def test_distances(a: Prediction | None, b: Prediction | None, apart: float) -> None:
    assert distance(a, b) == pytest.approx(apart, abs=1e-6)
    assert distance(b, a) == pytest.approx(apart, abs=1e-6)


def test_options() -> None:
    assert CanaryOptions().problems() == []
    assert CanaryOptions(interval_s=0).problems() == []
    assert CanaryOptions(interval_s=0.5, inputs=0).problems() == [
        "interval_s: must be 0 (off) or 1 to 86400, got 0.5",
        "inputs: must be 1 to 64, got 0",
    ]


def test_the_bench_flips_one_bit_at_a_time() -> None:
    """Another one every time, and the model is whole again in between."""
    places = set()
    for altered in flipped(tiny.TWIN_INT8, 20, seed=4):
        assert len(altered) == len(tiny.TWIN_INT8)
        bits = np.frombuffer(altered, np.uint8) ^ np.frombuffer(tiny.TWIN_INT8, np.uint8)
        assert int(np.unpackbits(bits).sum()) == 1
        places.add(int(np.flatnonzero(np.unpackbits(bits))[0]))
    assert len(places) == 20
