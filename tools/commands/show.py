"""``litewatch show``: a saved result as a table, as HTML or as JSON."""

from pathlib import Path
from typing import Any

import click

from agent.document import DocumentError, read_json
from agent.errors import InputError
from calibration import result_file
from calibration.check_result import CheckResult
from calibration.diagnosis_result import DiagnosisResult
from tools.console import emit_json, say
from tools.result_tables import show_check, show_diagnosis, show_mappings, show_schemes
from tools.writing import require_writable, write_text

_LISTS = (
    ("ranked", frozenset({"ranked"}), "Preprocessings, the likeliest first", "verdict"),
    ("rows", frozenset({"rows", "recommended"}), "Quantization schemes", "why"),
    ("causes", frozenset({"causes"}), "Causes, the likeliest first", "summary"),
)
"""Results that are shown as the table they are: the list's key, the keys by which the result is known,
a title, and the key of the sentence below."""


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch show check.json\n"
    "  litewatch show check.json --html report.html\n"
    "  litewatch show diagnosis.json --json"
)
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report that needs no other file and no network.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, as this version reads it.")
def show(result: Path, html: Path | None, as_json: bool) -> None:
    """Show what check, diagnose, preprocess find or schemes saved with --json.

    The file may come from another machine and from an older or newer Litewatch. Exit status 2 when
    it is no result or damaged; what the result says does not change the exit status.
    """
    require_writable(html, "--html")
    value = _read(result)
    made = _recognise(value, result.name)
    if html is not None:
        _write(html, made, result.name)
    if as_json:
        emit_json(result_file.dump(made) if isinstance(made, (CheckResult, DiagnosisResult)) else made)
    elif isinstance(made, CheckResult):
        show_check(made)
    elif isinstance(made, DiagnosisResult):
        show_diagnosis(made)
    else:
        _show_list(made)


def _read(path: Path) -> Any:
    try:
        return read_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except DocumentError as error:
        raise InputError(f"{path}: {error}") from None


def _recognise(value: Any, name: str) -> CheckResult | DiagnosisResult | dict[str, Any]:
    """The result, known by its keys; a published message is opened first. Raises InputError."""
    if isinstance(value, dict) and isinstance(value.get("body"), dict) and "schema" in value:
        value = _opened(value)
    keys = set(value) if isinstance(value, dict) else set()
    if "rungs" in keys:
        return result_file.load(value, where=name)
    if "factors" in keys:
        return result_file.load_diagnosis(value, where=name)
    listed = next((key for key, known_by, _, _ in _LISTS if known_by <= keys), None)
    if listed is not None and isinstance(value, dict):
        rows = value[listed]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{name}: {listed}: expected a list of mappings")
        return value
    known = (
        "rungs (check), factors (diagnose), ranked (preprocess find), rows and recommended (schemes), "
        "causes (a diagnosis message)"
    )
    raise InputError(f"{name}: no result of Litewatch: expected a JSON object with one of {known}")


def _opened(message: dict[str, Any]) -> dict[str, Any]:
    """The body of a message as a result: what a message leaves out is said to be unknown."""
    device = message.get("device")
    about = {"bundle": f"device {device}" if isinstance(device, str) else "a device"}
    unsaid = {"task": "classification", "origin": "unknown", "sentence": ""}
    return about | unsaid | dict(message["body"])


def _show_list(value: dict[str, Any]) -> None:
    if {"rows", "recommended"} <= set(value):
        show_schemes(value)
        return
    for key, known_by, title, sentence in _LISTS:
        if known_by <= set(value):
            show_mappings(f"{value['model']}: {title.lower()}" if "model" in value else title, value[key])
            if isinstance(value.get(sentence), str):
                say(value[sentence])


def _write(path: Path, made: CheckResult | DiagnosisResult | dict[str, Any], name: str) -> None:
    from calibration import report

    if isinstance(made, dict):
        raise InputError(f"{name}: only results of check and diagnose have an HTML report")
    text = report.html(made) if isinstance(made, CheckResult) else report.html_diagnosis(made)
    write_text(path, text, "--html")
    say(f"wrote {path}")
