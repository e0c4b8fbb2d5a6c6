"""Opens the source as the agent would, and waits for one frame."""

import os
import shutil
import threading
from pathlib import Path

from agent.contracts import Skipped, Source
from agent.device import sysfs
from agent.errors import SourceError
from agent.sources.url import shown
from tools.doctor.tree.camera import SourceFacts

FRAME_S = 20.0


def look(kind: str, source: Source, *, agent_running: bool, root: Path = Path("/")) -> SourceFacts:
    node = str(getattr(source, "path", "")) if kind == "camera" else None
    path = root / node.lstrip("/") if node else None
    program = str(getattr(source, "program", "")) or None
    blocked = path is not None and not os.access(path, os.R_OK | os.W_OK)
    untried = agent_running or blocked or getattr(source, "path", "") == "-"
    return SourceFacts(
        kind=kind,
        place=_place(source, node),
        node=node,
        node_exists=path is not None and path.exists(),
        node_open=not blocked,
        node_driver=_driver(path, root),
        cameras=tuple(f"/dev/{one.name}" for one in sysfs.entries(root / "dev", "video[0-9]*")),
        program=program,
        program_found=program is None or shutil.which(program) is not None,
        agent_running=agent_running,
        problem=None if untried else first_frame(source),
    )


def first_frame(source: Source, *, within_s: float = FRAME_S) -> str:
    """Why no frame came; "" when one did. A source stuck in a driver is left behind."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(_first(source)), name="doctor-source", daemon=True)
    thread.start()
    thread.join(within_s)
    return said[0] if said else f"no frame came within {within_s:g} s"


def _first(source: Source) -> str:
    try:
        feed = source.open()
        try:
            item = next(iter(feed), None)
        finally:
            feed.close()
    except SourceError as error:
        return str(error)
    except Exception as error:  # whatever a driver throws is what the user must read
        return f"failed: {error!r}"
    if item is None:
        return "it ended without a frame"
    return f"{item.name}: {item.reason}" if isinstance(item, Skipped) else ""


def _driver(path: Path | None, root: Path) -> str:
    """What the kernel calls the device; ``path`` may be a link to it (/dev/v4l/by-id/…)."""
    if path is None:
        return ""
    return sysfs.line(root / "sys/class/video4linux" / path.resolve().name / "name") or ""


def _place(source: Source, node: str | None) -> str:
    """What it reads, without the user and password an address may carry."""
    if node:
        return node
    if isinstance(url := getattr(source, "url", None), str):
        return shown(url)
    return str(getattr(source, "path", None) or getattr(source, "topic", None) or "")
