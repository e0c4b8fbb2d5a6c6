"""What every command's output keeps to."""

import json
import math

import pytest

from tools.console import emit_json


def test_json_is_json_for_any_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's own would print NaN and Infinity, which no other reader takes."""
    emit_json({"low": -math.inf, "rows": [{"p": math.nan, "n": 3}, (math.inf, 0.5)], "on": True})

    def refuse(word: str) -> float:
        raise AssertionError(word)

    said = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert said == {"low": None, "rows": [{"p": None, "n": 3}, [None, 0.5]], "on": True}
