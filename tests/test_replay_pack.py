"""What replayed faults taught goes into the bundle, is verified there, and is shown."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
import tiny

from agent import archive
from agent import bundle as bundle_files
from agent import manifest as manifests
from agent.errors import BundleError
from agent.monitor import estimate, signatures
from calibration.packing import Packed
from calibration.replay import learning
from tools.cli import main

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return bundles.pack_vectors(tmp_path_factory.mktemp("replayed"), count=120, replay_inputs=40)


def litewatch(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def inspected(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    code, out, _ = litewatch(capsys, "inspect", path, "--json")
    assert code == 0
    said: dict[str, Any] = json.loads(out)
    return said


def changed(packed: Packed, **files: bytes | None) -> bytes:
    """The bundle with files under litewatch/ replaced (None: left out) and the manifest made anew."""
    opened = bundle_files.open_archive(packed.data, name="x")
    kept = {name: opened.read(name) for name in opened.entries if name != bundle_files.MANIFEST}
    for name, content in files.items():
        path = f"litewatch/{name.replace('__', '.')}"
        kept.pop(path)
        if content is not None:
            kept[path] = content
    said = json.loads(opened.read(bundle_files.MANIFEST))
    said["files"] = [
        {"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in manifests.hash_files(kept)
    ]
    return archive.append(
        packed.data[: opened.start], kept | {bundle_files.MANIFEST: json.dumps(said).encode()}
    )


def test_what_was_learnt_is_read_back(packed: Packed) -> None:
    learnt, made = packed.learnt, packed.bundle
    assert (learnt.inputs, learnt.held_out, learnt.reason) == (40, 80, "")
    assert learnt.conditions > 50
    assert learnt.families >= 15
    assert learnt.estimator is not None
    assert learnt.signatures is not None
    assert made.estimator is not None
    assert made.signatures is not None
    assert estimate.encode(made.estimator) == estimate.encode(learnt.estimator)
    assert signatures.encode(made.signatures) == signatures.encode(learnt.signatures)
    assert made.signatures.features == made.reference.features
    listed = {file.name for file in made.manifest.files}
    files = {"estimator.json", "signatures.json", "signatures.npy"}
    assert {f"litewatch/{name}" for name in files} <= listed
    with zipfile.ZipFile(io.BytesIO(packed.data)) as opened:
        assert all(file.compress_type == zipfile.ZIP_STORED for file in opened.infolist())


def test_what_cannot_be_read_back_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*given: Any) -> Any:
        return dataclasses.replace(fit(*given), outermost=1e300)

    fit = learning.fitting.fit
    monkeypatch.setattr(learning.fitting, "fit", unreadable)
    made = bundles.pack_vectors(tmp_path, count=120, replay_inputs=40)
    assert made.learnt.estimator is made.learnt.signatures is None
    assert "estimator.json: outermost: expected a distance" in made.learnt.reason


def test_equal_inputs_teach_equal_bytes(packed: Packed, tmp_path: Path) -> None:
    assert bundles.pack_vectors(tmp_path, count=120, replay_inputs=40).data == packed.data


def test_a_bundle_of_before_has_neither(tmp_path: Path) -> None:
    made = bundles.pack_vectors(tmp_path, count=60)
    assert (made.bundle.estimator, made.bundle.signatures) == (None, None)
    assert made.learnt.reason == "not asked for"
    assert not any("replayed" in note for note in made.notes)


def test_one_of_the_two_files_of_signatures_is_not_enough(packed: Packed) -> None:
    with pytest.raises(BundleError) as caught:
        bundle_files.read(changed(packed, signatures__npy=None), name="b.tflite")
    assert caught.value.problems == ("b.tflite: litewatch/signatures.npy is missing",)
    without = bundle_files.read(
        changed(packed, signatures__npy=None, signatures__json=None, estimator__json=None), name="b.tflite"
    )
    assert (without.estimator, without.signatures) == (None, None)


def test_an_estimator_for_other_features_is_refused(packed: Packed) -> None:
    assert packed.bundle.estimator is not None
    other = estimate.encode(packed.bundle.estimator).replace(b'"x"', b'"other"')
    with pytest.raises(BundleError) as caught:
        bundle_files.read(changed(packed, estimator__json=other), name="b.tflite")
    assert all(problem.startswith("b.tflite: estimator.json: ") for problem in caught.value.problems)
    assert any("features" in problem for problem in caught.value.problems)


def test_a_changed_estimator_is_refused_by_its_hash(packed: Packed) -> None:
    data = packed.data.replace(b"litewatch.estimator/1", b"litewatch.estimator/2")
    with pytest.raises(BundleError) as caught:
        bundle_files.read(data, name="b.tflite")
    assert any("estimator.json" in problem for problem in caught.value.problems)


def test_inspect_shows_what_was_learnt(
    packed: Packed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle.tflite"
    path.write_bytes(packed.data)
    said = inspected(capsys, path)["replay"]
    assert said["signatures"] == packed.learnt.conditions
    assert len(said["families"]) == packed.learnt.families
    assert {"data:gain", "data:offset", "preprocess:impute"} <= set(said["families"])
    assert said["inputs"] == 40
    assert said["measure"] == "mse"
    assert 0 <= said["error_small_shift"] <= said["error_large_shift"]
    _, out, _ = litewatch(capsys, "inspect", path)
    assert f"{packed.learnt.conditions} in {packed.learnt.families} families, on 40 inputs each" in out


def test_the_command_replays_unless_told_not_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, spec = tmp_path / "model.tflite", tmp_path / "preprocess.yaml"
    model.write_bytes(tiny.LINEAR)
    spec.write_text(bundles.VECTOR_SPEC)
    held_out = bundles.write_vectors(tmp_path / "held_out.csv", 60)
    few = bundles.write_vectors(tmp_path / "few.csv", 40)
    given = ("pack", model, "--preprocess", spec, "-o", tmp_path / "out.tflite", "--json")
    replayed = json.loads(litewatch(capsys, *given, "--reference", held_out, "--replay-inputs", 30)[1])
    assert (replayed["replay"]["inputs"], replayed["replay"]["held_out"]) == (30, 30)
    assert replayed["replay"]["reason"] == ""
    assert inspected(capsys, tmp_path / "out.tflite")["replay"]["inputs"] == 30
    without = json.loads(litewatch(capsys, *given, "--reference", held_out, "--no-replay")[1])
    assert without["replay"]["estimator"] is None
    assert not any("replayed" in warning for warning in without["warnings"])
    code, out, _ = litewatch(capsys, *given, "--reference", few)
    assert code == 0
    reason = "40 labelled held-out inputs are too few to replay faults on: expected at least 50"
    assert f"no faults were replayed: {reason}" in json.loads(out)["warnings"]
    assert bundle_files.load(tmp_path / "out.tflite").estimator is None


def test_pictures_teach_as_well(tmp_path: Path) -> None:
    made = bundles.pack_images(tmp_path, count=75, replay_inputs=12)
    assert made.learnt.conditions >= 120
    assert made.learnt.families >= 20
    estimator = made.bundle.estimator
    assert estimator is not None
    assert estimator.right(np.array(made.bundle.reference.calibration[0])) is not None
