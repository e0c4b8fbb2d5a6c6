"""What the tests share: the data pack, a seed, and the demo's models."""

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DEMO_ASSETS = ROOT / "tools" / "demo" / "assets"


def data_pack() -> Path | None:
    """The folder of real models and photographs, where this machine has it."""
    candidates = [Path(os.environ["LITEWATCH_DATA"])] if "LITEWATCH_DATA" in os.environ else []
    candidates += [ROOT.parent / "shared" / "data", ROOT / "shared" / "data"]
    return next((path for path in candidates if (path / "labels.csv").is_file()), None)


@pytest.fixture(scope="session")
def data() -> Path:
    found = data_pack()
    if found is None:
        pytest.skip("skipped: no data pack")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)
