"""What the training team hands over: the bundle's reference, and what replaying faults taught.

Made by the very code of ``pack`` from photographs that the device never sees, at all levels of light.
"""

import hashlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from agent.decode.classification import ClassificationDecoder
from agent.monitor.estimate import Estimator
from agent.monitor.reference import Reference
from agent.monitor.signatures import Library
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import fingerprint, parse
from calibration import reference_builder
from calibration.labelled import Input, Inputs
from calibration.reference_builder import Subject
from calibration.replay import fitting, library, replaying
from calibration.replay.conditions import Replay
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.monitor.rendered import FEATURES, Model, Studio
from tools.bench.monitor.scenes import FRAMINGS, HALVES, LIGHTS

SPEC = """\
version: bench
steps:
- decode: {exif: ignore}
- resize: {width: 224, height: 224, aspect: stretch, method: linear}
- color: {order: rgb}
- cast: {mode: raw, rounding: half_even, layout: nhwc}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """``library`` and ``estimator`` learnt from ``replay``."""

    reference: Reference
    replay: Replay
    estimator: Estimator
    library: Library

    def without(self, families: tuple[str, ...]) -> Estimator:
        """An estimator that never saw these families replayed, alone or in mixes."""
        kept = tuple(
            condition
            for condition in self.replay.conditions
            if not set(condition.family.split("+")) & set(families)
        )
        return fitting.fit(replace(self.replay, conditions=kept), self.reference)


def train(
    model: Model,
    photographs: tuple[Photograph, ...],
    cache: Path,
    *,
    replayed: int,
    said: Callable[[str], None],
) -> Trained:
    """Write the pictures, make the reference and replay the faults on ``replayed`` of them; the two
    are kept under ``cache`` as long as the code that makes them stays."""
    inputs = _inputs(Studio(model=model, photographs=photographs, cache=cache), cache)
    path = cache / f"{model.key}-trained-{_key(inputs, replayed)}.pkl"
    if path.is_file():
        reference, replay = pickle.loads(path.read_bytes())
    else:
        said("replaying faults on the bundle's photographs")
        reference, replay = _made(model, inputs, replayed)
        path.write_bytes(pickle.dumps((reference, replay)))
    said(f"learning from {len(replay.conditions)} replayed conditions")
    return Trained(
        reference=reference,
        replay=replay,
        estimator=fitting.fit(replay, reference),
        library=library.learn(replay, reference),
    )


def subject(model: Model) -> Subject:
    return Subject(
        preprocess=compile_spec(parse(SPEC), model.runner.input),
        runner=model.runner,
        decoder=ClassificationDecoder(values="scores"),
        features=FEATURES,
    )


def _made(model: Model, inputs: Inputs, replayed: int) -> tuple[Reference, Replay]:
    spec, given = parse(SPEC), subject(model)
    built = reference_builder.build(
        inputs, total=len(inputs.inputs), subject=given, labels=(), fingerprint=fingerprint(spec)
    )
    chosen = replaying.split(inputs, kind="classification", most=replayed)
    assert not isinstance(chosen, str), chosen
    replay = replaying.replay(chosen, inputs=inputs, kind="classification", spec=spec, subject=given)
    return built.reference, replay


def _inputs(studio: Studio, cache: Path) -> Inputs:
    scenes = [(place, half) for place in range(len(studio.photographs)) for half in range(HALVES)]
    return written(studio, scenes, cache, name="training")


def written(studio: Studio, scenes: Sequence[tuple[int, int]], cache: Path, *, name: str) -> Inputs:
    """These scenes in every framing and light, as labelled PNG files."""
    folder = cache / f"{name}-{len(scenes)}"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    pictures = None
    for at, framing, light in np.ndindex(len(scenes), FRAMINGS, LIGHTS):
        place, half = scenes[at]
        photograph = studio.photographs[place]
        path = folder / f"{Path(photograph.name).stem}-{half}-{framing}-{light}.png"
        if not path.is_file():
            if pictures is None:
                pictures = studio.pictures(scenes)
            cv2.imwrite(str(path), pictures[at, framing, light][:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        found.append(Input(name=path.name, label=photograph.label, path=path))
    return Inputs(where=str(folder), inputs=tuple(found))


def replayed_on(
    model: Model, studio: Studio, scenes: Sequence[tuple[int, int]], cache: Path, *, inputs: int
) -> Replay:
    """The library's own faults on ``inputs`` pictures of these scenes, which the bundle never saw."""
    given = written(studio, scenes, cache, name="test")
    order = np.random.default_rng(31).permutation(len(given.inputs))[: inputs + 1].tolist()
    chosen = Inputs(where=given.where, inputs=tuple(given.inputs[at] for at in order))
    path = cache / f"{model.key}-replayed-{_key(chosen, inputs)}.pkl"
    if path.is_file():
        kept: Replay = pickle.loads(path.read_bytes())
        return kept
    split = replaying.Split(replayed=chosen.inputs[:-1], held_out=chosen.inputs[-1:])
    replay = replaying.replay(
        split, inputs=chosen, kind="classification", spec=parse(SPEC), subject=subject(model)
    )
    path.write_bytes(pickle.dumps(replay))
    return replay


def _key(inputs: Inputs, replayed: int) -> str:
    root = Path(replaying.__file__).parent
    learnt_later = ("fitting.py", "library.py", "learning.py", "trees.py", "isotonic.py", "windows.py")
    digest = hashlib.sha256(f"{replayed} {[given.name for given in inputs]}".encode())
    for path in sorted(root.glob("*.py")):
        if path.name not in learnt_later:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
