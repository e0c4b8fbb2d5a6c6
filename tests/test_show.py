"""``litewatch show``: results that came from elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from check_results import changed_without_labels, diagnosis, harmful, with_layers

from calibration import report
from calibration.result_file import dump, load
from tools.cli import main


def saved(folder: Path, value: Any, name: str = "check.json") -> str:
    path = folder / name
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    out, err = capsys.readouterr()
    return " ".join(out.split()), " ".join(err.split())


def test_a_check_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Harmful or not, showing it succeeded: exit status 0."""
    assert main(["show", saved(tmp_path, dump(harmful()))]) == 0
    out, err = said(capsys)
    assert "mobilenet_v2.tflite: Harmful, cause: Preprocessing: color" in out
    assert "37 of 128 (28.9 %)" in out
    assert "62.5 % (55.1 to 69.3 %)" in out
    assert "Set color order rgb in its preprocessing." in err
    assert "golden tensors: recorded by training code" in err
    assert "The reference kernels ran on 32 of the 128 inputs" in err


def test_a_check_without_labels_and_one_with_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", saved(tmp_path, dump(changed_without_labels()))]) == 0
    out, err = said(capsys)
    assert "Changed, cause: The CPU’s kernels" in out
    assert "self-made from the spec" in err
    assert main(["show", saved(tmp_path, dump(with_layers()))]) == 0
    out, err = said(capsys)
    assert "jump at MobilenetV1/Conv2d_2_depthwise/Relu6" in out
    assert "│ 4 │ DEPTHWISE_CONV_2D" in out


def test_a_diagnosis_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", saved(tmp_path, dump(diagnosis()))]) == 0
    out, err = said(capsys)
    assert "accuracy 85.9 % → 54.7 %, −31.2 points (−38.3 to −24.2), 128 inputs" in out
    assert "colour order │ rgb │ bgr │ −19.4 points (−24.5 to −14.3)" in out
    assert "Repair that first." in err


def test_html_is_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert main(["show", saved(tmp_path, dump(harmful())), "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == report.html(harmful())
    assert f"wrote {page}" in capsys.readouterr().err
    assert main(["show", saved(tmp_path, dump(diagnosis())), "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == report.html_diagnosis(diagnosis())


def test_json_is_what_this_version_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = dump(harmful())
    assert main(["show", saved(tmp_path, value | {"later": 1}), "--json"]) == 0
    assert load(json.loads(capsys.readouterr().out)) == harmful()
    assert main(["show", saved(tmp_path, dump(diagnosis())), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss_points"] == 31.25


def test_lists_of_other_commands_are_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranked = [
        {"spec": "version: x\nsteps: [red]", "score": -0.51234, "distinguishable": False},
        {"spec": None, "score": -0.9, "distinguishable": True, "why": "[bold]worse[/bold]"},
    ]
    path = saved(tmp_path, {"ranked": ranked})
    assert main(["show", path]) == 0
    out, _ = said(capsys)
    assert "spec ┃ score ┃ distinguishable ┃ why" in out
    assert "version: x steps: [red] │ -0.5123 │ no │ –" in out
    assert "[bold]worse[/bold]" in out
    assert main(["show", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ranked": ranked}
    assert main(["show", path, "--html", str(tmp_path / "x.html")]) == 2
    assert "only results of check and diagnose have an HTML report" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_a_published_message_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = {
        "verdict": "changed",
        "cause": None,
        "rungs": [{"name": "kernels", "verdict": "changed", "inputs": 64, "flips": 3}],
    }
    message = {"schema": "litewatch.check/1", "device": "door-7", "body": body}
    assert main(["show", saved(tmp_path, message)]) == 0
    assert "device door-7: Changed" in said(capsys)[0]


def test_a_comparison_of_schemes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"scheme": "float32", "bytes": 1200, "flags": ["a", "b"]}, {"scheme": "int8", "bytes": 400}]
    value = {"model": "tiny.keras", "rows": rows, "recommended": "int8", "why": "A third of the size."}
    assert main(["show", saved(tmp_path, value)]) == 0
    out, err = said(capsys)
    assert "tiny.keras: quantization schemes" in out
    assert "float32 │ 1200 │ a, b" in out
    assert "A third of the size." in err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[]", "no result of Litewatch: expected a JSON object with one of rungs (check)"),
        (b'{"device": 1}', "no result of Litewatch"),
        (b'{"rungs": []}', "check.json: bundle: required key is missing"),
        (b'{"factors": [{}]}', "check.json: factors[0].points: required key is missing"),
        (b'{"ranked": 5}', "check.json: ranked: expected a list of mappings"),
    ],
)
def test_what_is_no_result_is_refused(
    content: bytes, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "check.json"
    path.write_bytes(content)
    assert main(["show", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert problem in err


def test_files_that_cannot_be_read_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "absent.json")]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert main(["show", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err
    page = tmp_path / "absent" / "report.html"
    assert main(["show", saved(tmp_path, dump(harmful())), "--html", str(page)]) == 2
    assert f"--html: {page}: cannot be written: there is no folder {page.parent}" in capsys.readouterr().err


def test_markup_and_control_characters_of_a_file_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = dump(harmful()) | {"bundle": "[red]x\x1b[2J"}
    assert main(["show", saved(tmp_path, value)]) == 0
    out, err = capsys.readouterr()
    assert "[red]x" in out
    assert "\x1b[2J" not in out + err


def test_a_published_diagnosis_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    stored = Path(__file__).parent / "fixtures" / "messages" / "diagnosis.v1.json"
    assert main(["show", str(stored)]) == 0
    out, err = said(capsys)
    assert "Causes, the likeliest first" in out
    assert "preprocess:resize" in out and "hardware" in out
    assert "closest match .81: preprocess:resize" in err
    assert main(["show", str(stored), "--html", "never.html"]) == 2
