"""Opens the source as the agent would, and waits for one frame."""

import os
import shutil
import threading
import time
from collections import deque
from pathlib import Path

from agent.contracts import Skipped, Source
from agent.device import sysfs
from agent.errors import SourceError
from agent.sources.url import shown
from tools.doctor.tree.camera import SourceFacts, gives_pictures

FRAME_S = 20.0


def look(kind: str, source: Source, *, agent_running: bool, root: Path = Path("/")) -> SourceFacts:
    node = str(getattr(source, "path", "")) if kind == "camera" else None
    path = root / node.lstrip("/") if node else None
    program = str(getattr(source, "program", "")) or None
    blocked = path is not None and not os.access(path, os.R_OK | os.W_OK)
    cameras, others = _video_nodes(root)
    untried = agent_running or blocked or getattr(source, "path", "") == "-"
    return SourceFacts(
        kind=kind,
        place=_place(source, node),
        node=node,
        node_exists=path is not None and path.exists(),
        node_open=not blocked,
        node_driver=_driver(path, root),
        cameras=cameras,
        others=others,
        program=program,
        program_found=program is None or shutil.which(program) is not None,
        agent_running=agent_running,
        problem=None if untried else first_frame(source),
    )


def first_frame(source: Source, *, within_s: float = FRAME_S) -> str:
    """Why no frame came; "" when one did. A source stuck in a driver is left behind."""
    said: list[str] = []
    skipped: deque[Skipped] = deque(maxlen=1)
    until = time.monotonic() + within_s

    def look_for_one() -> None:
        said.append(_first(source, skipped, until))

    thread = threading.Thread(target=look_for_one, name="doctor-source", daemon=True)
    thread.start()
    thread.join(within_s)
    return said[0] if said else _too_late(skipped, within_s)


def _first(source: Source, skipped: deque[Skipped], until: float) -> str:
    """Why no frame came before ``until``; what was skipped last stays in ``skipped``."""
    begin = time.monotonic()
    try:
        feed = source.open()
        try:
            for item in feed:
                if not isinstance(item, Skipped):
                    return ""
                skipped.append(item)
                if time.monotonic() >= until:
                    return _too_late(skipped, until - begin)
        finally:
            feed.close()
    except SourceError as error:
        return str(error)
    except Exception as error:  # whatever a driver throws is what the user must read
        return f"failed: {error!r}"
    return f"it ended without a frame{_skips(skipped)}"


def _too_late(skipped: deque[Skipped], within_s: float) -> str:
    return f"no frame came within {within_s:.3g} s{_skips(skipped)}"


def _skips(skipped: deque[Skipped]) -> str:
    if not skipped:
        return ""
    return f"; the last thing skipped was {skipped[-1].name}: {skipped[-1].reason}"


def _video_nodes(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Device files of what may be a camera, and of what is none though it is called video."""
    nodes = sysfs.entries(root / "dev", "video[0-9]*")
    cameras = [node for node in nodes if gives_pictures(_driver(node, root))]
    others = [node for node in nodes if node not in cameras]
    return tuple(f"/dev/{node.name}" for node in cameras), tuple(f"/dev/{node.name}" for node in others)


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
