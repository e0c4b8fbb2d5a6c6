"""The peers' environments, and what each says of the same windows."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BENCH = Path(__file__).resolve().parents[1]
_SCRIPT = Path(__file__).with_name("peer.py")
_TIMEOUT_S = 1800.0

InstallError = subprocess.SubprocessError


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """``environment``: the folder under the peers' one, and ``tools/bench/peers-….txt``. A slow peer is
    asked about ``windows`` of the unchanged windows and one of every so many faults (``every``)."""

    name: str
    environment: str
    windows: int | None = None
    every: int = 1


PEERS = (
    Peer(name="river-adwin", environment="river", windows=150),
    Peer(name="river-page-hinkley", environment="river", windows=250),
    Peer(name="river-kswin", environment="river", windows=150),
    Peer(name="frouros-ks", environment="frouros"),
    Peer(name="frouros-psi", environment="frouros"),
    Peer(name="frouros-mmd", environment="frouros", windows=250),
    Peer(name="alibi-online-mmd", environment="alibi-detect", windows=20, every=3),
    Peer(name="whylogs-ks", environment="whylogs", windows=150),
    Peer(name="evidently-preset", environment="evidently", windows=30, every=2),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One number a window, unchanged ones and each fault's; or why there is none."""

    peer: Peer
    unchanged: NDArray[np.float64]
    faults: NDArray[np.float64]
    seconds_a_window: float
    failed: str = ""


def install(folder: Path, environment: str) -> Path:
    """The interpreter of an environment; made when it is not there. Raises OSError or
    CalledProcessError."""
    home = folder / environment
    python, done = home / "bin" / "python", home / ".installed"
    if not done.is_file():
        wanted = _BENCH / f"peers-{environment}.txt"
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted)]
        subprocess.run(pip, check=True, capture_output=True)
        done.touch()
    return python


def ask(
    folder: Path,
    peer: Peer,
    *,
    reference: NDArray[np.float32],
    unchanged: NDArray[np.float32],
    faults: NDArray[np.float32],
) -> Told:
    """``unchanged`` (W, n, F); ``faults`` (C, K, n, F): K windows of each of C faults."""
    try:
        python = install(folder, peer.environment)
        per_fault = faults.shape[1] if peer.windows is None else 1
        asked = faults[:: peer.every, :per_fault]
        chosen = asked.reshape(-1, *faults.shape[2:])
        every = np.concatenate([unchanged[: peer.windows], chosen])
        statistics, seconds = _run(python, peer, reference, every)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return Told(
            peer=peer, unchanged=np.empty(0), faults=np.empty(0), seconds_a_window=0.0, failed=_words(error)
        )
    cut = len(statistics) - len(chosen)
    return Told(
        peer=peer,
        unchanged=statistics[:cut],
        faults=statistics[cut:].reshape(len(asked), per_fault),
        seconds_a_window=seconds,
    )


def _run(
    python: Path, peer: Peer, reference: NDArray[np.float32], windows: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float]:
    """The numbers, and the processor time of each."""
    with tempfile.TemporaryDirectory(prefix="litewatch-peer-") as folder:
        given, out = Path(folder) / "windows.npz", Path(folder) / "told.json"
        np.savez(given, reference=reference, windows=windows)
        command = [str(python), str(_SCRIPT), peer.name, str(given), str(out)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
        read = json.loads(out.read_text())
        return np.array(read["statistics"], dtype=np.float64), float(read["seconds_a_window"])


def _words(error: Exception) -> str:
    said = getattr(error, "stderr", "") or str(error)
    lines = (said.decode(errors="replace") if isinstance(said, bytes) else said).strip().splitlines()
    return lines[-1][:200] if lines else type(error).__name__


def power_at(told: Told, false_alarms: float) -> tuple[float, float]:
    """Share of faulty windows found, and of unchanged ones alarmed, with the lowest threshold that
    alarms on at most the share ``false_alarms`` of the unchanged ones."""
    ordered = np.sort(told.unchanged)[::-1]
    allowed = int(false_alarms * len(ordered))
    threshold = ordered[allowed] if allowed < len(ordered) else -np.inf
    return float((told.faults > threshold).mean()), float((told.unchanged > threshold).mean())
