"""The bundle: what is accepted, what is refused and in which words, and that nothing else happens."""

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import archive, golden, manifest
from agent import bundle as bundle_files
from agent.bundle import Bundle
from agent.contracts import Classification
from agent.errors import BundleError
from agent.monitor import reference
from agent.preprocess.trace import StepTrace, trace
from agent.runtime.choice import choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle"), count=40).read_bytes()


@pytest.fixture(scope="module")
def packed_vectors(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle"), count=40, vectors=True).read_bytes()


def files_of(data: bytes) -> dict[str, bytes]:
    opened = archive.read(data, where="test")
    return {name: opened.read(name) for name in opened.entries}


def rebuilt(data: bytes, files: dict[str, bytes]) -> bytes:
    """The same model with other files: a well-formed archive, whatever they say."""
    return archive.append(data[: archive.read(data, where="test").start], files)


def with_manifest(data: bytes, edit: Edit, files: dict[str, bytes] | None = None) -> bytes:
    """The bundle with its manifest (and other files) changed; hashes of those files are set right."""
    all_files = files_of(data) | (files or {})
    document = json.loads(all_files[bundle_files.MANIFEST])
    for entry in manifest.hash_files(files or {}):
        listed = next(item for item in document["files"] if item["name"] == entry.name)
        listed |= {"bytes": entry.bytes, "sha256": entry.sha256}
    edit(document)
    return rebuilt(data, all_files | {bundle_files.MANIFEST: json.dumps(document).encode()})


def problems(data: bytes, *keys: str) -> list[str]:
    with pytest.raises(BundleError) as caught:
        bundle_files.read(data, name="b.tflite", trusted_keys=keys)
    return list(caught.value.problems)


def content(bundle: Bundle) -> tuple[object, ...]:
    return (
        bundle.flatbuffer,
        bundle.manifest,
        bundle.spec,
        bundle.labels,
        reference.encode(bundle.reference),
        golden.encode(bundle.golden),
        bundle.edgetpu,
    )


def test_everything_packed_is_read_back(packed: bytes) -> None:
    bundle = bundle_files.read(packed, name="b.tflite")
    assert bundle.name == "b.tflite"
    assert bundle.flatbuffer == tiny.CLASSIFIER
    assert bundle.labels == ("background", "red", "green", "blue")
    assert (bundle.manifest.task, bundle.manifest.name) == ("classification", "model")
    assert bundle.manifest.created == "2026-01-02T03:04:05Z"
    assert bundle.spec.version == bundle.manifest.preprocess.version == "7"
    assert bundle.reference.accuracy == 1.0
    assert bundle.reference.labelled == 40
    assert len(bundle.golden.inputs) == 8
    assert {golden.label for golden in bundle.golden.inputs} <= {1, 2, 3}
    assert bundle.golden.inputs[0].encoded.startswith(b"\x89PNG")
    assert bundle.golden.inputs[0].payload == bundle.golden.inputs[0].encoded
    assert bundle.golden.inputs[0].outputs[0].dtype == np.uint8
    assert bundle.golden.inputs[0].outputs[0].shape == (1, 4)
    assert (bundle.signature, bundle.signed_by, bundle.edgetpu) == (None, None, None)


def test_vectors_are_kept_exactly(packed_vectors: bytes) -> None:
    bundle = bundle_files.read(packed_vectors, name="b.tflite")
    first = bundle.golden.inputs[0]
    assert isinstance(first.payload, np.ndarray)
    x = float(first.payload[0])
    np.testing.assert_allclose(first.outputs[0], [[2 * x + 1]], rtol=1e-6)
    assert bundle.labels == ()
    assert bundle.reference.features == ("x", "output.value")


@pytest.mark.runtime
def test_every_runtime_loads_the_bundle_as_the_model(packed: bytes) -> None:
    assert packed.startswith(tiny.CLASSIFIER)
    bundle = bundle_files.read(packed, name="b.tflite")
    runtime = choose("auto", cache=None)
    for model in (packed, bundle.flatbuffer):
        runner = open_runner(Cpu(kernels="reference"), model, runtime=runtime, threads=1)
        for recorded in bundle.golden.inputs:
            assert trace(bundle.spec, runner.input, recorded.payload) == recorded.traces
            tensor = bundles.prepared(bundle, runner.input, recorded.payload)
            (output,) = runner.run(tensor)
            np.testing.assert_array_equal(output, recorded.outputs[0])
            prediction = bundle.decoder.decode((output,), runner.outputs)
            assert isinstance(prediction, Classification)
            assert prediction.top == recorded.label


def test_other_tools_read_the_files_stored_and_where_they_belong(packed: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.testzip() is None
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}
        assert opened.read("labels.txt") == b"background\nred\ngreen\nblue\n"
        named = set(opened.namelist())
    assert named >= {
        "labels.txt",
        "litewatch/manifest.json",
        "litewatch/preprocess.yaml",
        "litewatch/reference.json",
        "litewatch/calibration.npy",
        "litewatch/golden/index.json",
    }


def test_files_that_others_add_later_are_ignored(packed: bytes) -> None:
    files = files_of(packed) | {"license.txt": b"mine"}
    assert content(bundle_files.read(rebuilt(packed, files), name="b")) == content(
        bundle_files.read(packed, name="b")
    )


def test_what_is_no_bundle_is_named(packed: bytes, tmp_path: Path) -> None:
    archive_only = io.BytesIO()
    with zipfile.ZipFile(archive_only, "w") as made:
        made.writestr("a", b"1")
    plain = "b.tflite: is a .tflite model but not a bundle: run `litewatch pack`"
    assert problems(tiny.CLASSIFIER) == [plain]
    assert problems(archive.append(tiny.CLASSIFIER, {"labels.txt": b"a"})) == [plain]
    assert problems(archive_only.getvalue()) == [
        "b.tflite: a zip archive without a model (the identifier TFL3 is missing)"
    ]
    assert problems(b"") == ["b.tflite: not a .tflite model (the identifier TFL3 is missing)"]
    assert problems(packed[:-1]) == ["b.tflite: its end is missing or damaged (truncated while copying?)"]
    with pytest.raises(BundleError, match=r"nowhere\.tflite: cannot be read: No such file or directory$"):
        bundle_files.load(tmp_path / "nowhere.tflite")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_bundle_cut_short_is_neither_a_bundle_nor_a_model_to_pack(share: float, packed: bytes) -> None:
    start = archive.read(packed, where="b").start
    cut = packed[: start + round(share * (len(packed) - start))]
    said = "b.tflite: its end is missing or damaged (truncated while copying?)"
    assert problems(cut) == problems(cut + b"something behind it") == [said]
    # A packer of before took such a file for a model, remains and all.
    for data in (cut, archive.append(cut, {"labels.txt": b"a"})):
        with pytest.raises(BundleError) as caught:
            bundle_files.split(data, name="b.tflite")
        assert caught.value.problems == (said,)


def test_what_lies_behind_a_model_and_is_no_archive_is_part_of_it() -> None:
    for behind in (bytes(1000), b"PK\x03\x04" + bytes(60), b"litewatch/ and labels.txt, in words", b"PK"):
        model = tiny.CLASSIFIER + behind
        assert bundle_files.split(model, name="m") == (model, {})
        files = {"labels.txt": b"a", "license.txt": b"b"}
        assert bundle_files.split(archive.append(model, files), name="m") == (model, files)


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.truncate(bundle_files.MAX_BYTES + 1)
    with pytest.raises(
        BundleError, match=r"huge\.tflite: 536870913 bytes are more than the 536870912 allowed$"
    ):
        bundle_files.load(path)


def test_altered_and_added_files_are_all_reported_at_once(packed: bytes) -> None:
    files = files_of(packed)
    files["labels.txt"] = b"background\nblue\ngreen\nred\n"
    files["litewatch/preprocess.yaml"] += b"# \n"
    files["litewatch/extra.py"] = b"import os"
    del files["litewatch/calibration.npy"]
    assert problems(rebuilt(packed, files)) == [
        "b.tflite: litewatch/extra.py: is not listed in the manifest",
        "b.tflite: labels.txt: altered (its SHA-256 is not the manifest's)",
        "b.tflite: litewatch/preprocess.yaml: altered (its SHA-256 is not the manifest's)",
        "b.tflite: litewatch/calibration.npy is missing",
    ]


def test_another_model_is_refused(packed: bytes) -> None:
    swapped = archive.append(tiny.LINEAR, files_of(packed))
    assert problems(swapped) == [
        "b.tflite: the model is not the one this bundle was made for (its SHA-256 differs)"
    ]


def test_deflated_files_of_ours_are_refused(packed: bytes) -> None:
    stream = io.BytesIO(tiny.CLASSIFIER)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as made:
        for name, data in files_of(packed).items():
            made.writestr(name, data, zipfile.ZIP_STORED if name.endswith("manifest.json") else None)
    assert "b.tflite: litewatch/reference.json: must be stored, not deflated" in problems(stream.getvalue())


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda d: d.update(schema=2, decoder=None),
            [
                "b.tflite: manifest.json: schema: the bundle has format 2, this agent reads up to 1: "
                "update litewatch"
            ],
        ),
        (lambda d: d.pop("created"), ["b.tflite: manifest.json: created: required key is missing"]),
        (
            lambda d: (d["decoder"].update(kind="segmentation"), d["preprocess"].update(schema="1")),
            [
                "b.tflite: manifest.json: preprocess.schema: expected int, got '1'",
                "b.tflite: manifest.json: decoder.kind: unknown kind 'segmentation' (known: classification, "
                "detection, regression)",
            ],
        ),
        (
            lambda d: d["decoder"].update(values="probabilities"),
            ["b.tflite: manifest.json: decoder.values: expected one of scores, logits, got 'probabilities'"],
        ),
        (
            lambda d: d["files"].append(d["files"][0]),
            ["b.tflite: manifest.json: files: a name appears twice"],
        ),
        (
            lambda d: d["files"][1].update(bytes=1),
            ["b.tflite: litewatch/preprocess.yaml: altered (its SHA-256 is not the manifest's)"],
        ),
        (
            lambda d: d["preprocess"].update(fingerprint="0" * 64),
            ["b.tflite: preprocess.yaml: its fingerprint is not the manifest's"],
        ),
    ],
)
def test_the_manifest_is_checked_by_dotted_path(packed: bytes, edit: Edit, expected: list[str]) -> None:
    assert problems(with_manifest(packed, edit)) == expected


def test_unknown_manifest_keys_of_a_newer_packer_are_ignored(packed: bytes) -> None:
    newer = with_manifest(packed, lambda d: d.update(strata=["random"]))
    assert bundle_files.read(newer, name="b").labels == bundles.LABELS


def test_preprocessing_this_agent_cannot_run_is_refused_naming_both_sides(packed: bytes) -> None:
    (step,) = problems(with_manifest(packed, lambda d: d["preprocess"]["steps"][1].update(revision=9)))
    assert step.startswith(
        "b.tflite: preprocess: step 'resize' has revision 9 in the bundle, this agent runs"
    )
    (schema,) = problems(with_manifest(packed, lambda d: d["preprocess"].update(schema=7)))
    assert "has schema 7, this agent reads schema 1" in schema


def test_a_reference_of_another_preprocessing_is_refused(packed: bytes) -> None:
    files = files_of(packed)
    fingerprint = json.loads(files[bundle_files.REFERENCE])["fingerprint"]
    other = files[bundle_files.REFERENCE].replace(fingerprint.encode(), b"f" * 64)
    assert problems(with_manifest(packed, lambda d: None, {bundle_files.REFERENCE: other})) == [
        "b.tflite: reference.json: made with another preprocessing (fingerprint differs)"
    ]


def test_damaged_golden_files_are_refused_with_their_place(packed: bytes) -> None:
    name = "litewatch/golden/index.json"
    index = json.loads(files_of(packed)[name])
    index["inputs"][2]["label"] = "red"
    index["inputs"][3]["traces"][0]["probes"] = -1
    changed = json.dumps(index).encode()
    assert problems(with_manifest(packed, lambda d: None, {name: changed})) == [
        "b.tflite: litewatch/golden/index.json: inputs[2].label: expected int or float, got 'red'"
    ]
    index["inputs"][2]["label"] = 1
    changed = json.dumps(index).encode()
    assert problems(with_manifest(packed, lambda d: None, {name: changed})) == [
        "b.tflite: litewatch/golden/index.json: inputs[3].traces[0].probes: expected at least 0, got -1"
    ]
    index["inputs"][3]["traces"][0]["probes"] = 0
    changed = json.dumps(index).encode()
    assert problems(with_manifest(packed, lambda d: None, {name: changed})) == [
        "b.tflite: litewatch/golden/index.json: does not agree with its arrays"
    ]
    for file in ("litewatch/golden/probes.npy", "litewatch/golden/output-0.npy"):
        assert problems(with_manifest(packed, lambda d: None, {file: b"\x93NUMPY"})) == [
            f"b.tflite: {file}: not a .npy array of numbers in C order"
        ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_the_same_bundle_or_one_clear_error(packed: bytes, data: st.DataObject) -> None:
    whole = content(bundle_files.read(packed, name="b.tflite"))
    damaged = _damage(packed, data)
    # CPU time, so that a busy machine cannot fail it; an undamaged bundle takes 15 ms.
    started = time.process_time()
    try:
        read = bundle_files.read(damaged, name="b.tflite")
    except BundleError as error:
        assert all(problem.startswith("b.tflite: ") for problem in error.problems)
    else:
        assert content(read) == whole
    assert time.process_time() - started < 1


HOSTILE = [
    b"[" * 5000,
    b"{" * 5000,
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b"-1",
    b"null",
    b'"',
    b"\xff",
    b"(",
    b"&a [*a]",
]
MENDED = [
    bundle_files.PREPROCESS,
    bundle_files.REFERENCE,
    bundle_files.CALIBRATION,
    "labels.txt",
    "litewatch/golden/index.json",
    "litewatch/golden/probes.npy",
    "litewatch/golden/output-0.npy",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_content_with_right_hashes_is_read_or_refused_clearly(packed: bytes, data: st.DataObject) -> None:
    """Whoever packs an unsigned bundle can set its hashes right: the parsers stand alone then."""
    name = data.draw(st.sampled_from(MENDED))
    good = files_of(packed)[name]
    # The beginning is where headers are.
    at = data.draw(st.integers(0, len(good)) | st.integers(0, min(len(good), 130)))
    noise = data.draw(st.binary(max_size=20) | st.sampled_from(HOSTILE))
    changed = good[:at] + noise + good[at + data.draw(st.integers(0, 20)) :]
    mended = with_manifest(packed, lambda document: None, {name: changed})
    try:
        bundle_files.read(mended, name="b.tflite")
    except BundleError as error:
        assert all(problem.startswith("b.tflite: ") for problem in error.problems)


def _damage(good: bytes, data: st.DataObject) -> bytes:
    """Truncated, with bits flipped, or with a piece of itself or of noise spliced in."""
    place = st.integers(0, len(good) - 1)
    # Half of the places lie in the archive's directory, where most of what can go wrong does.
    directory = st.integers(archive.read(good, where="b").data.index(b"PK\x01\x02"), len(good) - 1)
    at = data.draw(place | directory)
    how = data.draw(st.sampled_from(["cut", "flip", "splice", "noise", "drop"]))
    if how == "cut":
        return good[:at]
    if how == "flip":
        flipped = bytearray(good)
        for where in [at, *data.draw(st.lists(place | directory, max_size=3))]:
            flipped[where] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(flipped)
    if how == "drop":
        return good[:at] + good[at + data.draw(st.integers(1, 300)) :]
    source = data.draw(place)
    piece = good[source : source + data.draw(st.integers(1, 3000))]
    if how == "noise":
        piece = data.draw(st.binary(min_size=1, max_size=100))
    keep = data.draw(st.booleans())
    return good[:at] + piece + good[at + (len(piece) if keep else 0) :]


def test_loading_imports_no_cryptography_and_no_runtime(packed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.tflite"
    path.write_bytes(packed)
    script = (
        "import sys; from agent.bundle import load; load(sys.argv[1]);"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('cryptography', 'ai_edge_litert', 'tflite_runtime', 'click', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def golden_files(**changes: int) -> dict[str, bytes]:
    """One vector of two values with two traces; ``changes`` sets numbers of the index."""
    probe = StepTrace(
        step="cast", revision=1, shape=(2,), dtype="float32", sha256="", tolerance=0.0, probe=(1.0,)
    )
    outputs = (np.zeros(1, np.float32),)
    vector = np.array([1.0, 2.0]).tobytes()
    given = golden.GoldenInput(
        name="a", encoded=vector, label=None, traces=(probe, probe), outputs=outputs, vector=True
    )
    files = golden.encode(golden.GoldenSet(inputs=(given,)))
    index = json.loads(files["litewatch/golden/index.json"])
    index["outputs"] = changes.get("outputs", 1)
    index["inputs"][0]["traces"][0]["probes"] = changes.get("first", 1)
    index["inputs"][0]["traces"][1]["probes"] = changes.get("second", 1)
    return files | {
        "litewatch/golden/index.json": json.dumps(index).encode(),
        "litewatch/golden/0000.f64": vector[: changes.get("bytes", 16)],
    }


def test_counts_of_golden_files_that_cannot_be() -> None:
    (read,) = golden.decode(golden_files(), where="b").inputs
    assert [trace.probe for trace in read.traces] == [(1.0,), (1.0,)]
    with pytest.raises(BundleError) as caught:
        # The two counts of probes add up to what the array holds.
        golden.decode(golden_files(outputs=-1, first=5, second=-3, bytes=15), where="b")
    assert caught.value.problems == (
        "b: litewatch/golden/index.json: outputs: expected at least 0, got -1",
        "b: litewatch/golden/index.json: inputs[0].traces[1].probes: expected at least 0, got -3",
        "b: litewatch/golden/0000.f64: 15 bytes are no vector of float64",
    )


def test_an_unknown_key_is_ignored_but_not_below_decoder(packed: bytes) -> None:
    def later(document: dict[str, Any]) -> None:
        document["later"] = document["environment"]["later"] = 1

    def meaning(document: dict[str, Any]) -> None:
        document["decoder"]["later"] = 1

    assert bundle_files.read(with_manifest(packed, later), name="b.tflite").manifest.task == "classification"
    (problem,) = problems(with_manifest(packed, meaning))
    assert problem.startswith("b.tflite: manifest.json: decoder: unknown key 'later'")
