"""The likely cause: everything the device knows, as causes ranked by how much speaks for each. Pure.

What is proven stands first: a canary that is not repeated, a harmful rung of the ladder, a spec that
is known to differ, a camera that delivers no new pictures. Statistics come after: they compare and
cannot prove, so they say "closest match .81" and never more. Words follow strength, and each cause
carries its evidence and the next thing to type.

Causes are ``quantization``, ``kernels``, ``delegate``, ``preprocess:<step>``, ``data:<family>``,
``hardware`` and ``source``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.contracts import Against, DriftScore
from agent.monitor.alarms import Loss
from agent.monitor.distances import CLASS_FAMILY, family_of
from agent.monitor.next_step import next_step
from agent.monitor.signatures import Candidate, Match
from agent.telemetry.messages import Check, Diagnosis, Estimate, RankedCause, Reproduction

MOST_CAUSES = 5
CANARY, HARMFUL, FORCED, NOT_REPRODUCED, CAMERA = 0.98, 0.95, 0.93, 0.9, 0.9
"""Weights of what is proven; see ``STATISTICS``."""
UNBLESSED, CHANGED = 0.85, 0.75
AWAY, HOT = 0.4, 0.2
STATISTICS = 0.7
"""Most that any likeness weighs: less than anything proven."""
WEAK = 0.3
"""Of that, what remains where the window is unlike anything replayed, or was never compared."""
CLOSE = 0.5
"""A cosine below that is no likeness."""
RIVAL = 0.1
"""Matches within so much of the closest are named beside it."""
BEHIND = 0.9
"""Each of them weighs so much of the one before it."""
CLASS_P = 0.001
HOT_C = 80.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything the device knows; whatever is left out is not known.

    ``score`` is the drift that asks for an explanation and ``against`` what it compared with;
    ``match`` likens the newest window to replayed faults; ``class_p`` is how probable its mix of
    predicted classes is when nothing changed. ``loss`` is what ``estimate`` costs in points.
    """

    score: DriftScore | None = None
    against: Against = "training"
    provisional: bool = False
    match: Match | None = None
    class_p: float | None = None
    estimate: Estimate | None = None
    loss: Loss | None = None
    canary_blessed: int = 0
    """Golden tensors whose answers on this device are known."""
    canary_mismatch: str = ""
    """Which of them is not repeated now, and how; empty: none."""
    canary_problem: str = ""
    """Why the hardware is not blessed, or not tested."""
    check: Check | None = None
    """The newest ladder of the bundle that runs."""
    forced: tuple[str, ...] = ()
    """Steps that a forced override changed against the bundle."""
    reproduction: Reproduction = "not checked"
    reproduction_step: str | None = None
    reproduction_detail: str = ""
    picture: str = ""
    """What is wrong with the camera's pictures: frozen, black, stuck exposure."""
    source: str = ""
    """Why no frames come."""
    delegate: str = ""
    """Why the configured delegate is away."""
    tpu: str = ""
    """As in ``health``: ``ok``, or what is wrong; empty where none is configured."""
    throttled_now: tuple[str, ...] = ()
    temperatures_c: dict[str, float] = field(default_factory=dict)


def diagnose(evidence: Evidence, *, trigger: str) -> Diagnosis:
    """Causes with what speaks for them, most first: at most MOST_CAUSES, each named once."""
    best: dict[str, RankedCause] = {}
    for found in (*_proven(evidence), *_machine(evidence), *_statistics(evidence)):
        known = best.get(found.cause)
        if known is None:
            best[found.cause] = found
        elif found.evidence not in known.evidence:
            best[found.cause] = _joined(known, found)
    causes = sorted(best.values(), key=lambda cause: -cause.weight)[:MOST_CAUSES]
    loss = evidence.loss
    return Diagnosis(
        causes=tuple(causes),
        summary=_summary(evidence, causes),
        loss_points=None if loss is None else round(loss.points, 2),
        loss_low=None if loss is None else round(loss.low, 2),
        loss_high=None if loss is None else round(loss.high, 2),
        trigger=trigger,
    )


def _joined(one: RankedCause, other: RankedCause) -> RankedCause:
    """One cause that two observations speak for: as strong as the stronger."""
    first, second = (one, other) if one.weight >= other.weight else (other, one)
    return RankedCause(
        cause=first.cause,
        weight=first.weight,
        evidence=f"{first.evidence}; {second.evidence}",
        next_step=first.next_step,
        match=first.match if first.match is not None else second.match,
    )


def _cause(cause: str, weight: float, evidence: str, match: float | None = None) -> RankedCause:
    return RankedCause(
        cause=cause,
        weight=round(weight, 3),
        evidence=evidence,
        next_step=next_step(cause),
        match=None if match is None else round(match, 3),
    )


def _proven(evidence: Evidence) -> Iterator[RankedCause]:
    """What was tested on the device itself, or is known of its set-up."""
    if evidence.canary_mismatch:
        yield _cause("hardware", CANARY, f"the canary is not repeated: {evidence.canary_mismatch}")
    elif evidence.canary_problem:
        yield _cause("hardware", UNBLESSED, f"canary: {evidence.canary_problem}")
    check = evidence.check
    if check is not None and check.cause and check.verdict != "ok":
        said = f": {check.sentence}" if check.sentence else ""
        weight = HARMFUL if check.verdict == "harmful" else CHANGED
        yield _cause(check.cause, weight, f"the last check is {check.verdict}{said}")
    for step in evidence.forced:
        yield _cause(f"preprocess:{step}", FORCED, "a forced override differs from the bundle in this step")
    if evidence.reproduction == "differs" and evidence.reproduction_step:
        detail = f": {evidence.reproduction_detail}" if evidence.reproduction_detail else ""
        said = f"this machine does not reproduce the bundle's vectors from this step on{detail}"
        yield _cause(f"preprocess:{evidence.reproduction_step}", NOT_REPRODUCED, said)


def _machine(evidence: Evidence) -> Iterator[RankedCause]:
    if evidence.source:
        yield _cause("source", CAMERA, f"no frames: {evidence.source}")
    if evidence.picture:
        yield _cause("source", CAMERA, f"the picture is {evidence.picture}")
    if evidence.delegate:
        yield _cause("delegate", AWAY, f"the delegate is away: {evidence.delegate}")
    if evidence.tpu not in ("", "ok"):
        yield _cause("delegate", AWAY, f"the TPU: {evidence.tpu}")
    if evidence.throttled_now:
        yield _cause("hardware", HOT, f"now {', '.join(evidence.throttled_now)}")
    hottest = max(evidence.temperatures_c.items(), key=lambda item: item[1], default=("", 0.0))
    if hottest[1] >= HOT_C:
        yield _cause("hardware", HOT, f"{hottest[0]} at {hottest[1]:.0f} °C")


def _statistics(evidence: Evidence) -> Iterator[RankedCause]:
    """What the frames look like. It compares with what was replayed, and proves nothing."""
    matched = list(_matches(evidence.match))
    yield from matched
    score = evidence.score
    if score is not None and score.drifted and not matched:
        family = family_of(score.distances)
        top = ", ".join(distance.name for distance in score.distances[:3])
        compared = "no replayed fault is close" if evidence.match else "no replayed faults to compare with"
        features = f" ({top})" if top else ""
        yield _cause(
            f"data:{family}", STATISTICS * WEAK, f"the features moved most in {family}{features}; {compared}"
        )
    if evidence.class_p is not None and evidence.class_p < CLASS_P:
        said = f"the predicted classes are mixed otherwise (p = {evidence.class_p:.1g})"
        yield _cause(f"data:{CLASS_FAMILY}", STATISTICS * (WEAK if matched else CLOSE), said)


def _matches(match: Match | None) -> Iterator[RankedCause]:
    """The closest replayed fault, and its rivals; of a mix each fault is a cause of its own."""
    if match is None or not match.ranked or match.ranked[0].cosine < CLOSE:
        return
    closest, *others = match.ranked
    weight = STATISTICS * closest.cosine * (WEAK if match.unlike_anything else 1.0)
    yield from _likeness(closest, "closest match", weight, match)
    for candidate in others[: MOST_CAUSES - 1]:
        if candidate.cosine >= max(CLOSE, closest.cosine - RIVAL):
            weight *= BEHIND
            yield from _likeness(candidate, "also close, match", weight, match)


def _likeness(candidate: Candidate, rank: str, weight: float, match: Match) -> Iterator[RankedCause]:
    parts = candidate.family.split("+")
    together = f" ({' with '.join(parts)})" if len(parts) > 1 else ""
    said = f"{rank} {_hundredths(candidate.cosine)}: {candidate.name}{together}"
    if match.unlike_anything:
        said = f"unlike anything replayed ({match.distance:.1f} times as far as a known fault); {said}"
    for part in parts:
        yield _cause(part, weight, said, candidate.cosine)


def _hundredths(cosine: float) -> str:
    """``.81``: how design and documents write a match."""
    return f"{cosine:.2f}".removeprefix("0")


def _summary(evidence: Evidence, causes: list[RankedCause]) -> str:
    parts = [_headline(evidence, causes), _cost(evidence)]
    if evidence.canary_blessed and not evidence.canary_mismatch and not evidence.canary_problem:
        parts.append("the canary is repeated: the model computes as before")
    if evidence.provisional:
        parts.append("provisional: this device's own baseline is not ready")
    return "; ".join(part for part in parts if part)


def _headline(evidence: Evidence, causes: list[RankedCause]) -> str:
    if not causes:
        if evidence.match is not None and evidence.match.nothing:
            return "nothing wrong found: the frames look like training's"
        return "nothing wrong found in what this device knows"
    first = causes[0]
    if first.weight > STATISTICS:
        return f"{first.cause}: {first.evidence}"
    if first.match is None:
        return f"no cause proven; {first.cause}: {first.evidence}"
    if evidence.match is not None and evidence.match.unlike_anything:
        return f"unlike anything replayed; nearest {first.cause}, match {_hundredths(first.match)}"
    return f"closest match {_hundredths(first.match)}: {first.cause}"


def _cost(evidence: Evidence) -> str:
    loss, estimate = evidence.loss, evidence.estimate
    if loss is not None:
        return f"estimated loss {loss.points:.1f} points ({loss.low:.1f} to {loss.high:.1f})"
    if estimate is not None and estimate.abstained:
        return f"the loss is not estimated: {estimate.abstained}"
    return ""
