"""The fault tests take minutes: ``pytest tests/faults`` (or a file of it) runs them all and keeps each
measured number in build/faults.json, as the benches' figures are kept. With the other tests a small share
of the quick ones runs, and nothing is kept."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scale import FULL

from tools.bench.figures import Figure, write

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parent.parent / "build" / "faults.json"


QUICK = ("test_damage.py", "test_malformed.py", "test_powercut.py")
"""Of these a small share also runs with the other tests."""


def pytest_configure(config: pytest.Config) -> None:
    places = [_place(config, name) for name in config.args]
    if any(HERE in (place, *place.parents) for place in places):
        os.environ[FULL] = "1"
    if HERE in places and not hasattr(config, "workerinput"):
        FIGURES.unlink(missing_ok=True)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    left_out = collection_path.suffix == ".py" and collection_path.name not in QUICK
    return True if left_out and not os.environ.get(FULL) else None


def _place(config: pytest.Config, name: str) -> Path:
    return (config.invocation_params.dir / name.partition("::")[0]).resolve()


@pytest.fixture
def figure() -> Callable[..., None]:
    """Keep one measured number; see ``tools.bench.figures.Figure``."""

    def keep(name: str, value: float, unit: str, **more: Any) -> None:
        if not os.environ.get(FULL):
            return
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        with FIGURES.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of a parallel run share the file
            known = json.loads(FIGURES.read_text())["figures"] if FIGURES.exists() else []
            figures = [_figure(record) for record in known if record["name"] != name]
            write(FIGURES, [*figures, Figure(name=name, value=value, unit=unit, **more)])

    return keep


def _figure(record: dict[str, Any]) -> Figure:
    return Figure(**{key: value for key, value in record.items() if key != "met"})
