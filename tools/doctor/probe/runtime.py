"""Which TFLite runtimes run a model here, each asked in a process of its own."""

import importlib.util
import platform
import subprocess
import sys
from importlib import metadata
from typing import Literal

from agent.errors import RuntimeUnavailableError
from agent.runtime.choice import Preference, Runtime, choose
from tools.doctor.tree.runtime import RuntimeFacts, RuntimeTried

IMPORT_S = 60.0
_NAMES: dict[Literal["litert", "tflite"], str] = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}


def look(preference: Preference) -> tuple[RuntimeFacts, Runtime | None]:
    """The facts, and the runtime that the agent would take."""
    tried, chosen = [], None
    for name, distribution in _NAMES.items():
        if preference in ("auto", name):
            one, runtime = _try(name, distribution)
            tried.append(one)
            chosen = chosen or runtime
    facts = RuntimeFacts(
        python=platform.python_version(),
        bits=64 if sys.maxsize > 2**32 else 32,
        numpy=_version("numpy"),
        opencv_problem=_opencv(),
        tried=tuple(tried),
    )
    return facts, chosen


def _try(name: Literal["litert", "tflite"], distribution: str) -> tuple[RuntimeTried, Runtime | None]:
    version = _version(distribution)
    try:
        runtime = choose(name, cache=None)
    except RuntimeUnavailableError as error:
        # Its last line reads "<what>: <problem>; type: <command>".
        said = str(error).splitlines()[-1]
        problem, _, install = said.partition("; type: ")
        why = problem.partition(": ")[2]
        return RuntimeTried(name=distribution, version=version, problem=why, install=install), None
    return RuntimeTried(name=distribution, version=runtime.version), runtime


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _opencv() -> str:
    """What is wrong with it, in its own last line; "" when it can be imported."""
    if importlib.util.find_spec("cv2") is None:
        return "it is not installed"
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", "import cv2; cv2.imencode"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=IMPORT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if child.returncode == 0:
        return ""
    said = child.stderr.decode("utf-8", "replace")
    if "_ARRAY_API" in said:
        return "_ARRAY_API not found"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {child.returncode}"
