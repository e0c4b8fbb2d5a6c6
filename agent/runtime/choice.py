"""Which TFLite runtime works on this machine.

Decided by running one in a subprocess (``probe``). The verdict is remembered in a file by the
versions involved, which are read without importing anything: the second start spawns nothing.
"""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from agent.document import DocumentError, read_json
from agent.errors import RuntimeUnavailableError
from agent.structure import StructureProblemsError, structure

Preference: TypeAlias = Literal["auto", "litert", "tflite"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A TFLite runtime that works here: its distribution, module and version."""

    name: str
    module: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    name: str
    module: str
    install: str
    newest_python: tuple[int, int] | None = None


_CANDIDATES: Mapping[str, _Candidate] = {
    "litert": _Candidate(
        name="ai-edge-litert",
        module="ai_edge_litert.interpreter",
        install="pip install ai-edge-litert",
    ),
    "tflite": _Candidate(
        name="tflite-runtime",
        module="tflite_runtime.interpreter",
        install="pip install tflite-runtime==2.14.0 'numpy<2' 'opencv-python-headless<4.12'",
        newest_python=(3, 11),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verdicts:
    """The cache file: a pairing of versions -> what is wrong with it ("" when it works)."""

    problems: dict[str, str]


def choose(preference: Preference, *, cache: Path | None) -> Runtime:
    """The first runtime of ``preference`` that runs a model here; "auto" tries litert, then tflite.

    ``cache`` is the file that remembers verdicts (None: nothing is remembered). A remembered
    success is trusted. A remembered failure saves a probe only while another runtime works, so a
    machine repaired without a change of versions is not refused for ever.

    Raises RuntimeUnavailableError with each runtime's problem and the command to type.
    """
    wanted = tuple(_CANDIDATES.values()) if preference == "auto" else (_CANDIDATES[preference],)
    remembered = _read(cache)
    problems: list[str] = []
    for known in (remembered, {}) if remembered else ({},):
        problems = []
        for candidate in wanted:
            version = _installed(candidate.name)
            problem = _verdict(candidate, version, known, cache) if version else "not installed"
            if version and not problem:
                return Runtime(name=candidate.name, module=candidate.module, version=version)
            problems.append(_advice(candidate, version, problem))
    raise RuntimeUnavailableError("\n".join(["no TFLite runtime works here:", *problems]))


def unavailable(runtime: Runtime, problem: str) -> RuntimeUnavailableError:
    """The error for a runtime that was chosen and then failed in this process."""
    candidate = next(one for one in _CANDIDATES.values() if one.name == runtime.name)
    return RuntimeUnavailableError(_advice(candidate, runtime.version, problem))


def _verdict(candidate: _Candidate, version: str, known: Mapping[str, str], cache: Path | None) -> str:
    pairing = f"{_pairing(candidate, version)}, {platform.machine()}"
    if pairing in known:
        return known[pairing]
    # Imported here: a remembered verdict starts no subprocess and needs none of this.
    from agent.runtime.probe import NO_ANSWER, probe

    problem = probe(candidate.module)
    # A machine that was busy once is no reason to leave a runtime for good.
    if not problem.startswith(NO_ANSWER):
        _remember(cache, pairing, problem)
    return problem


def _advice(candidate: _Candidate, version: str | None, problem: str) -> str:
    place = ""
    if candidate.newest_python and sys.version_info[:2] > candidate.newest_python:
        place = " (in Python {}.{}: there is no build for a newer one)".format(*candidate.newest_python)
    what = f"{_pairing(candidate, version)} does not work" if version else candidate.name
    return f"{what}: {problem}; type: {candidate.install}{place}"


def _pairing(candidate: _Candidate, version: str) -> str:
    python = platform.python_version()
    return f"{candidate.name} {version} with numpy {_installed('numpy')} on Python {python}"


def _installed(distribution: str) -> str | None:
    """The installed version. The name of the .dist-info folder says it; importlib.metadata, which
    reads the same in 30 ms with all it imports, is asked only where there is no such folder."""
    pattern = f"{distribution.replace('-', '_')}-*.dist-info"
    for folder in filter(None, sys.path):
        for found in Path(folder).glob(pattern):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _read(cache: Path | None) -> dict[str, str]:
    if cache is None:
        return {}
    try:
        return structure(read_json(cache.read_bytes()), _Verdicts).problems
    except (OSError, DocumentError, StructureProblemsError):
        return {}  # absent or damaged: the probe is run again and the file written anew


def _remember(cache: Path | None, pairing: str, problem: str) -> None:
    if cache is None:
        return
    content = json.dumps({"problems": {**_read(cache), pairing: problem}}, indent=1)
    # Without a place to write the agent still starts, only slower.
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        fresh = cache.with_name(f"{cache.name}.{os.getpid()}")
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(cache)
