"""What the tests share: the data pack, a seed, and the demo's models."""

from pathlib import Path

import numpy as np
import pytest

from tools.bench.scenario import data_pack

ROOT = Path(__file__).resolve().parent.parent
DEMO_ASSETS = ROOT / "tools" / "demo" / "assets"


@pytest.fixture(scope="session")
def data() -> Path:
    found = data_pack()
    if found is None:
        pytest.skip("skipped: no data pack")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)
