"""The architecture: imports only go down the floors, and never in a circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
F0 = (
    "agent.errors",
    "agent.contracts",
    "agent.telemetry.messages",
    "agent.telemetry.health_body",
    "agent.telemetry.accuracy_body",
)
F1 = (
    "agent.structure", "agent.document", "agent.jsonschema", "agent.npy", "agent.config",
    "agent.sections", "agent.quantize",
    "agent.plain_text", "agent.sources.url", "agent.sources.jpeg_stream",
    "agent.preprocess", "agent.decode", "agent.monitor",
    "agent.telemetry.wire", "agent.telemetry.options", "agent.telemetry.clock", "agent.telemetry.identity",
    "agent.telemetry.ports",
    "agent.telemetry.backoff", "agent.telemetry.letterhead", "agent.telemetry.homeassistant",
    "agent.telemetry.rate_limit", "agent.telemetry.intake",
    "agent.telemetry.reply_address", "agent.telemetry.rivals",
)  # fmt: skip
F3 = (
    "agent.pipeline",
    "agent.problems",
    "agent.truth",
    "agent.watch",
    "agent.change",
    "agent.alarming",
    "agent.buffer",
    "agent.telemetry.publisher",
    "agent.telemetry.sender",
    "agent.telemetry.send_window",
    "agent.telemetry.telemetry",
    "agent.control",
    "agent.failover",
    "agent.canary",
    "agent.capture",
    "agent.sight",
    "agent.telemetry.announcer",
    "agent.telemetry.reception",
    "agent.telemetry.inbox",
    "agent.telemetry.listening",
    "agent.telemetry.replies",
)
F4 = (
    "agent.service",
    "agent.selftest",
    "agent.startup",
    "agent.thresholds",
    "agent.feeder",
    "agent.later",
    "agent.uplink",
    "agent.launch",
    "agent.parts",
    "agent.steering",
    "agent.examination",
    "agent.health",
    "agent.checking",
    "agent.canary_inputs",
    "agent.signals",
    "agent.rehearsal",
    "agent.credentials",
    "agent.diagnosing",
)
STANDARD_LIBRARY_ONLY = (
    "agent.errors",
    "agent.telemetry.messages",
    "agent.telemetry.health_body",
    "agent.telemetry.accuracy_body",
)


def modules() -> dict[str, Path]:
    found = {}
    for package in ("agent", "calibration", "tools"):
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imports(name: str) -> set[str]:
    """The project's modules that ``name`` imports anywhere in its text."""
    tree = ast.parse(MODULES[name].read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {target for target in found if target in MODULES and target != name}


def is_in(name: str, floor: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in floor)


def floor_of(name: str) -> int:
    if name.startswith("tools"):
        return 6
    if name.startswith("calibration"):
        return 5
    for number, floor in ((0, F0), (1, F1), (3, F3), (4, F4)):
        if is_in(name, floor):
            return number
    return 2


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    allowed = floor_of(name)
    for target in imports(name):
        if target in PACKAGES and floor_of(target) == 2:
            continue
        assert floor_of(target) <= allowed, (
            f"{name} (floor {allowed}) imports {target} (floor {floor_of(target)})"
        )


@pytest.mark.parametrize("name", sorted(name for name in MODULES if floor_of(name) == 3))
def test_orchestration_imports_no_adapter(name: str) -> None:
    assert not [target for target in imports(name) if floor_of(target) == 2 and target not in PACKAGES]


def test_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for target in sorted(imports(name)):
            if not name.startswith(target + "."):
                visit(target, (*path, name))
        done.add(name)

    for name in sorted(MODULES):
        visit(name, ())


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_the_ground_floor_needs_only_the_standard_library(name: str) -> None:
    import sys

    tree = ast.parse(MODULES[name].read_text())
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module not in STANDARD_LIBRARY_ONLY:
            roots.add(node.module.split(".")[0])
    assert roots <= set(sys.stdlib_module_names)


def test_no_module_is_larger_than_a_reader_can_hold() -> None:
    sizes = {name: path.read_text().count("\n") for name, path in MODULES.items()}
    assert {name: size for name, size in sizes.items() if size > 400} == {}
