"""What a bundle carries of a replay: an estimator of accuracy and a library of signatures."""

from dataclasses import dataclass, field

from agent.errors import BundleError, FrameError
from agent.monitor import estimate
from agent.monitor import signatures as signature_files
from agent.monitor.estimate import Estimator
from agent.monitor.reference import Reference
from agent.monitor.signatures import Library
from agent.preprocess.spec import PreprocessSpec
from calibration.labelled import Inputs
from calibration.reference_builder import Subject
from calibration.replay import fitting, library, replaying
from calibration.replay.replaying import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """Both, or neither and the ``reason`` (""). ``inputs`` were replayed under each of ``conditions``
    conditions of ``families`` families; confidence was fitted on ``held_out`` others. ``asked``: whether the
    user wanted it."""

    estimator: Estimator | None = field(default=None, repr=False)
    signatures: Library | None = field(default=None, repr=False)
    reason: str = ""
    asked: bool = True
    inputs: int = 0
    held_out: int = 0
    conditions: int = 0
    families: int = 0


def learn(
    inputs: Inputs,
    *,
    kind: str,
    spec: PreprocessSpec,
    subject: Subject,
    reference: Reference,
    most: int,
    progress: Progress,
) -> Learnt:
    """Replay the faults on at most ``most`` of ``inputs`` (0: none) and learn from that."""
    if not most:
        return Learnt(reason="not asked for", asked=False)
    chosen = replaying.split(inputs, kind=kind, most=most)
    if isinstance(chosen, str):
        return Learnt(reason=chosen)
    try:
        made = replaying.replay(
            chosen, inputs=inputs, kind=kind, spec=spec, subject=subject, progress=progress
        )
        signatures = library.learn(made, reference)
        estimator = fitting.fit(made, reference)
        # What no device could read back is no reason to pack nothing.
        estimate.decode(estimate.encode(estimator), features=reference.features)
        signature_files.decode(*signature_files.encode(signatures), features=reference.features)
    except (BundleError, FrameError, OverflowError, ValueError) as error:
        return Learnt(reason=f"nothing could be learnt from replayed faults: {error}")
    return Learnt(
        estimator=estimator,
        signatures=signatures,
        inputs=len(made.conditions[0].rows),
        held_out=len(made.held_out.rows),
        conditions=len(made.conditions) - 1,
        families=len({part for fault in made.conditions[1:] for part in fault.family.split("+")}),
    )
