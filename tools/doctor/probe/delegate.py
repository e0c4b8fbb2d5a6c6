"""Tries a hardware delegate out, in a process of its own: its library may crash or hang."""

import os
import subprocess
import sys
from pathlib import Path

from agent.device import sysfs
from agent.device.coral import Corals, read_corals
from agent.device.throttling import Throttling
from agent.runtime.choice import Runtime
from agent.runtime.delegate_probe import probe_delegate
from agent.runtime.edgetpu import EdgeTpu
from agent.runtime.interpreter import Delegate
from tools.doctor.probe.service import Agent
from tools.doctor.tree import tpu as tree
from tools.doctor.tree.tpu import TpuFacts, Tried

OPENING_S = 60.0
LISTING_S = 30.0
_LIST = """
from pycoral.utils.edgetpu import list_edge_tpus
for tpu in list_edge_tpus():
    print(tpu["type"], tpu["path"])
"""


def look(
    delegate: Delegate | None,
    *,
    runtime: Runtime | None,
    model: bytes | None,
    agent: Agent,
    throttling: Throttling,
    root: Path = Path("/"),
) -> TpuFacts:
    """``model``: the bundle's model for this delegate; without one only the library is tried out."""
    corals = read_corals(root)
    tpu = delegate if isinstance(delegate, EdgeTpu) else None
    nodes = _nodes(corals)
    missing = tuple(node for node in nodes if not (root / node[1:]).exists())
    closed = tuple(node for node in nodes if node not in missing and not _may_open(root / node[1:]))
    tried, untried = None, "no Coral is asked for"
    if tpu is not None and (corals.usb or corals.pcie):
        tried, untried = try_out(tpu, runtime=runtime, model=model, agent=agent)
    return TpuFacts(
        configured=tpu is not None,
        device=tpu.device if tpu else "auto",
        library=tpu.library if tpu else "libedgetpu.so.1",
        corals=corals,
        closed=closed,
        missing=missing,
        page_size=os.sysconf("SC_PAGE_SIZE"),
        throttling=throttling,
        apex_loaded=(root / "sys/module/apex").is_dir(),
        tried=tried,
        untried=untried,
        holder=_holder(nodes, root),
        listed=listed() if tpu is not None and not agent.running else None,
        rules=_rules(root),
    )


def _rules(root: Path) -> tuple[str, ...]:
    if (root / tree.INSTALLER).is_file():
        return tree.RULES_OF_SERVICE
    return tree.RULES_BY_INSTALLER if (root / "opt/litewatch").is_dir() else tree.RULES


def try_out(
    delegate: Delegate, *, runtime: Runtime | None, model: bytes | None, agent: Agent
) -> tuple[Tried | None, str]:
    """What came of it, or None and why it was not tried. A device serves one process: where an agent
    runs, that one is asked."""
    if agent.running:
        return agent.tried, agent.untried
    if runtime is None:
        return None, "no TFLite runtime works here that could try it out"
    problem = probe_delegate(delegate, model, runtime=runtime, opening_s=OPENING_S)
    detail = "" if model else "only its library was loaded: no model for it is here"
    return Tried(by="doctor", problem=problem, detail=detail), ""


def _nodes(corals: Corals) -> tuple[str, ...]:
    return (*(stick.node for stick in corals.usb), *(card.node for card in corals.pcie if card.node))


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _holder(nodes: tuple[str, ...], root: Path) -> str:
    """The first process seen to have one of ``nodes`` open; only root sees those of other users."""
    if not nodes:
        return ""
    for link in sysfs.entries(root / "proc", "[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target in nodes:
            process = link.parent.parent
            return f"{sysfs.line(process / 'comm') or '?'} (process {process.name})"
    return ""


def listed() -> tuple[str, ...] | None:
    """What the genuine pycoral lists. There is a package of the same name that is not it."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _LIST],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LISTING_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if child.returncode != 0:
        return None
    return tuple(child.stdout.decode("utf-8", "replace").splitlines())
