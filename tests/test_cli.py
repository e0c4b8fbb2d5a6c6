"""The command as a whole: what becomes of a defect of our own."""

import sys
from pathlib import Path

import pytest

from tools.cli import COMMANDS, INTERNAL_ERROR, main


def test_an_unforeseen_error_is_neither_a_verdict_nor_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "defective_command.py").write_text(
        "import click\n@click.command()\ndef run():\n    raise ZeroDivisionError('a defect [of ours]')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "defective", ("defective_command:run", "Fails."))
    assert main(["defective"]) == INTERNAL_ERROR == 70
    monkeypatch.delitem(sys.modules, "defective_command")
    said = capsys.readouterr()
    assert said.out == ""
    assert "internal error" in said.err
    assert "ZeroDivisionError: a defect [of ours]" in said.err and "defective_command.py" in said.err


def test_the_codes_that_were_there_stay() -> None:
    assert main(["--version"]) == 0
    assert main(["no-such-command"]) == 2
    assert main(["check"]) == 2
