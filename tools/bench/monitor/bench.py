"""The whole stream bench: makes the streams, measures, and turns what was found into figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from calibration.replay.conditions import Replay
from tools.bench.monitor import accuracy, alarms, causes, labelled, peers, power
from tools.bench.monitor.alarms import Place
from tools.bench.monitor.cost import cost_figures
from tools.bench.monitor.faults import FAULTS, Fault
from tools.bench.monitor.found import HARMFUL_POINTS, Found
from tools.bench.monitor.matching import Roles, deal
from tools.bench.monitor.rendered import Model, Rendered, Studio
from tools.bench.monitor.scenes import HALVES, World, world
from tools.bench.monitor.training import replayed_on, train

DWELLS = (1, 10, 50, 250)
_DEALS = 100
_LIBRARY_INPUTS = 96
_SCENES: tuple[alarms.Scenes, ...] = ("the same", "unseen")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """``photographs``, ``faults``: only so many; None: all. ``peers``: where their environments are made;
    None: without them."""

    pack: Path
    cache: Path
    peers: Path | None
    model: str = "v1"
    photographs: int | None = None
    faults: int | None = None
    dwells: tuple[int, ...] = DWELLS
    days: int = 300
    windows: int = 600
    per_fault: int = 8
    onsets: int = 3
    replayed: int = 128
    trials: int = 400
    workers: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What everything is measured on."""

    world: World
    model: Model
    studio: Studio
    roles: Roles
    test_scenes: tuple[tuple[int, int], ...]
    place: Place
    faults: tuple[tuple[Fault, Rendered], ...]

    def cost(self, rendered: Rendered) -> float:
        """Points of accuracy that a fault truly costs here."""
        return 100 * (self.place.test.accuracy - rendered.accuracy)


def prepare(settings: Settings, said: Callable[[str], None]) -> Material:
    cv2.setNumThreads(1)
    seen = world(settings.pack, settings.photographs)
    model = Model(settings.pack, settings.model)
    trained = train(model, seen.training, settings.cache, replayed=settings.replayed, said=said)
    studio = Studio(model=model, photographs=seen.device, cache=settings.cache)
    scenes = [(place, half) for place in range(len(seen.device)) for half in range(HALVES)]
    said("the device's photographs")
    both = studio.render(scenes)
    roles = min((deal(both, seed=seed) for seed in range(_DEALS)), key=lambda dealt: dealt.after.worst)
    test = tuple(scenes[at] for at in roles.test)
    rendered = []
    for fault in FAULTS[: settings.faults]:
        said(f"the device's photographs with: {fault.key}")
        rendered.append((fault, studio.render(test, fault)))
    return Material(
        world=seen,
        model=model,
        studio=studio,
        roles=roles,
        test_scenes=test,
        place=Place(trained=trained, commissioning=both.of(roles.commissioning), test=both.of(roles.test)),
        faults=tuple(rendered),
    )


def measure(
    settings: Settings, material: Material, parts: Sequence[str], said: Callable[[str], None]
) -> Found:
    found = Found(
        quiet=[],
        delays=[],
        power=None,
        replayed=[],
        related=[],
        unseen=[],
        widths=[],
        named=[],
        library=[],
        cost=[],
    )
    for part in parts:
        said(part)
        _PARTS[part](settings, material, found)
    return found


def _alarms(settings: Settings, material: Material, found: Found) -> None:
    for scenes in _SCENES:
        found.quiet += alarms.quiet(
            material.place, scenes, settings.dwells, days=settings.days, workers=settings.workers
        )


def _delay(settings: Settings, material: Material, found: Found) -> None:
    harmful = [
        (fault.key, material.cost(rendered), rendered)
        for fault, rendered in material.faults
        if material.cost(rendered) >= HARMFUL_POINTS
    ]
    found.delays = list(
        alarms.delays(
            material.place, harmful, dwell=power.DWELL, onsets=settings.onsets, workers=settings.workers
        )
    )


def _power(settings: Settings, material: Material, found: Found) -> None:
    found.power = power.power(
        material.place,
        material.faults,
        unchanged=settings.windows,
        per_fault=settings.per_fault,
        environments=settings.peers,
        workers=settings.workers,
    )


def _accuracy(settings: Settings, material: Material, found: Found) -> None:
    place = material.place
    found.replayed = accuracy.library_guesses(place.trained, _here(settings, material))
    for replayed, into in ((True, found.related), (False, found.unseen)):
        into += accuracy.guesses(place.trained, place.test, material.faults, windows=3, replayed=replayed)


def _here(settings: Settings, material: Material) -> Replay:
    inputs = min(settings.replayed, _LIBRARY_INPUTS)
    scenes = material.test_scenes
    return replayed_on(material.model, material.studio, scenes, settings.cache, inputs=inputs)


def _labels(settings: Settings, material: Material, found: Found) -> None:
    found.widths = labelled.widths(
        material.place.trained,
        material.place.test,
        material.faults,
        trials=settings.trials,
        per_fault=max(settings.trials // 5, 5),
    )


def _causes(settings: Settings, material: Material, found: Found) -> None:
    place = material.place
    found.named = causes.other_implementations(
        place.trained, place.commissioning, place.test, material.faults, windows=4
    )
    found.library = causes.library_faults(place.trained, _here(settings, material))


def _cost(settings: Settings, material: Material, found: Found) -> None:
    python = None
    if settings.peers is not None:
        try:
            python = peers.install(settings.peers, "whylogs")
        except (OSError, peers.InstallError):
            python = None
    found.cost = list(cost_figures(material.world.device, python))


_PARTS: dict[str, Callable[[Settings, Material, Found], None]] = {
    "alarms": _alarms,
    "power": _power,
    "delay": _delay,
    "accuracy": _accuracy,
    "labels": _labels,
    "causes": _causes,
    "cost": _cost,
}
PARTS = tuple(_PARTS)
