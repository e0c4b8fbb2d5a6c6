"""Which preprocessing a classifier was trained with: search the space, then test what was found.

The axes that decide most come first: colour order, value map and rotation together by successive
halving over the inputs, then crop and interpolation together. Around the best a field is laid out:
every change of one axis, and every crop with every interpolation that is not refused. It is put to
the test of ``best_set``. What wins is what suits the model best on these inputs; each spec that
cannot be told apart from it may be the one used in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from agent.preprocess.spec import PreprocessSpec
from calibration.candidate.field import LAST_ALPHA, LOOK_ALPHA, Field, Judge, Watch
from calibration.candidate.halving import Dropped, Halving, halve
from calibration.candidate.score import check_labels
from calibration.candidate.space import Axis, Candidate, Space
from calibration.evaluation import Evaluation

ALPHA: Final = LOOK_ALPHA + LAST_ALPHA
FIRST_INPUTS: Final = 16
"""Of the first round of halving."""
LEAST_INPUTS: Final = 8
Option: TypeAlias = tuple[Axis, object]
"""An axis, and what a candidate does there."""
_KEPT: Final = 3
_MOST_MOVES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A spec of the final field.

    ``worse_by`` is what it lacks to the best (at least 0), a mean over the first ``inputs`` inputs;
    ``score`` the best's mean over all inputs less that. ``p``: the corrected probability of so much by
    chance; ``distinguishable``: it is truly worse than the best (without labels never said of a spec that
    differs in crop and interpolation alone). ``accuracy`` over its inputs; None: no labels.
    ``differs``: in what from the best, in words.
    """

    candidate: Candidate
    spec: PreprocessSpec
    score: float
    worse_by: float
    p: float
    distinguishable: bool
    accuracy: float | None
    inputs: int
    differs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """``ranked`` best first; ``dropped`` while halving, on few inputs and without a test.

    ``labelled``: scored by the label's log-likelihood, else by confidence and agreement. ``weak``: the
    model hardly works with any spec, and only differences in accuracy were counted. ``space``: how
    many specs there are; ``tried`` of them, with ``runs`` of the model.
    """

    ranked: tuple[Ranked, ...]
    dropped: tuple[Dropped[Candidate], ...]
    inputs: int
    labelled: bool
    weak: bool
    space: int
    tried: int
    runs: int
    alpha: float

    @property
    def best(self) -> Ranked:
        return self.ranked[0]

    @property
    def alike(self) -> tuple[Ranked, ...]:
        """The best and all that cannot be told apart from it."""
        return tuple(spec for spec in self.ranked if not spec.distinguishable)


def search(evaluation: Evaluation, *, scores: bool, watch: Watch) -> Found:
    """Search the space of ``evaluation``'s model over its inputs (in an order that is random).

    ``scores``: the outputs are scores, not logits. Either all inputs have labels, or none has and the
    evaluation keeps scores. Raises SpecError for a model without an image input, LabelError for labels
    that are shifted by one, ValueError for fewer than ``LEAST_INPUTS`` inputs.
    """
    if len(evaluation) < LEAST_INPUTS:
        raise ValueError(f"{len(evaluation)} inputs, expected at least {LEAST_INPUTS}")
    space = Space(evaluation.model.input)
    judge = Judge(space, evaluation, scores=scores, watch=watch)
    values = _halved(judge, space.coarse(), "colours, values, rotations")
    shapes = _halved(judge, space.shapes(values.survivors[0]), "crops and interpolations")
    first = shapes.survivors[0]
    field = Field(judge)
    field.admit(
        (
            first,
            *space.neighbours(first),
            *shapes.survivors,
            *(replace(other, geometry=first.geometry, method=first.method) for other in values.survivors),
        )
    )
    _widen(space, field, *_climb(space, field, first))
    return _found(judge, field, (*values.dropped, *shapes.dropped))


def _halved(judge: Judge, arms: Sequence[Candidate], what: str) -> Halving[Candidate]:
    checked = False

    def score(left: Sequence[Candidate], inputs: int) -> list[float]:
        nonlocal checked
        judge.run(left, inputs, what)
        if judge.labels and not checked:
            tops = [judge.evaluation.tops(judge.spec(arm), range(inputs)) for arm in left]
            check_labels(np.stack(tops), judge.labels[:inputs])
            checked = True
        means: list[float] = judge.scores(left, inputs).mean(axis=1).tolist()
        return means

    return halve(arms, score, first=FIRST_INPUTS, most=len(judge.evaluation), keep=_KEPT)


def _climb(space: Space, field: Field, centre: Candidate) -> tuple[Candidate, set[Option]]:
    """Admit the neighbours of whatever is best until the best stays; returns it and the options that
    were refused beside one centre or another: they are not tried again beside the next."""
    refused = _refused_options(field, centre)
    for _ in range(_MOST_MOVES):
        best = field.best()
        if best == centre:
            break
        refused -= set(best.changed(centre))
        centre = best
        field.admit(near for near in space.neighbours(centre) if not refused & set(near.changed(centre)))
        refused |= _refused_options(field, centre)
    return centre, refused


def _widen(space: Space, field: Field, centre: Candidate, refused: set[Option]) -> None:
    """Admit every crop with every interpolation of those that are not refused by themselves, what else
    is not refused with the commonest crop and interpolation, and the twins of the best."""
    field.admit(shape for shape in space.shapes(centre) if not refused & set(shape.changed(centre)))
    left = [near for near in space.neighbours(centre) if not refused & set(near.changed(centre))]
    field.admit(Candidate(color=near.color, values=near.values, clockwise=near.clockwise) for near in left)
    best = field.best()
    field.admit((*space.twins(best), *space.twins(replace(best, method="linear"))))


def _refused_options(field: Field, centre: Candidate) -> set[Option]:
    """The options that are refused as the one change to ``centre``."""
    changes = [candidate.changed(centre) for candidate in field.refused()]
    return {change[0] for change in changes if len(change) == 1}


def _found(judge: Judge, field: Field, dropped: Sequence[Dropped[Candidate]]) -> Found:
    made = judge.scores(field.full, field.inputs)
    p, apart = judge.apart(field.full, field.inputs, LAST_ALPHA)
    # A twin is ahead by rounding at most: the plainer one is named.
    means = [
        -np.inf if judge.space.is_twin(c) else mean
        for c, mean in zip(field.full, made.mean(axis=1), strict=True)
    ]
    at = int(np.argmax(means))
    best, score = field.full[at], float(means[at])
    ranked = [
        _ranked(judge, c, best, score, made[at] - row, float(p_c), bool(far) and c != best)
        for c, row, p_c, far in zip(field.full, made, p, apart, strict=True)
    ]
    for candidate, early_p in field.early.items():
        # Together with the full ones: without labels a score depends on who else is in the field.
        rows = judge.scores([*field.full, candidate], field.look)
        ranked.append(_ranked(judge, candidate, best, score, rows[at] - rows[-1], early_p, True))
    return Found(
        ranked=tuple(sorted(ranked, key=lambda one: (one.candidate != best, one.worse_by))),
        dropped=tuple(drop for drop in dropped if drop.arm not in field),
        inputs=field.inputs,
        labelled=bool(judge.labels),
        weak=judge.weak(best, field.inputs),
        space=len(judge.space),
        tried=judge.tried,
        runs=judge.evaluation.invokes,
        alpha=ALPHA,
    )


def _beyond_shape(candidate: Candidate, best: Candidate) -> bool:
    """Whether more than crop and interpolation differs. Only that can be refused without labels: an
    object that fills more of the picture makes a model surer, however it was trained."""
    return any(axis not in ("geometry", "method") for axis, _ in candidate.changed(best))


def _ranked(
    judge: Judge,
    candidate: Candidate,
    best: Candidate,
    best_score: float,
    lacking: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    p: float,
    apart: bool,
) -> Ranked:
    # A twin, or who was refused early and seen on its inputs alone, may be ahead by a hair.
    worse_by = max(float(lacking.mean()), 0.0)
    inputs = len(lacking)
    return Ranked(
        candidate=candidate,
        spec=judge.spec(candidate),
        score=best_score - worse_by,
        worse_by=worse_by,
        p=p,
        distinguishable=apart and (bool(judge.labels) or _beyond_shape(candidate, best)),
        accuracy=float(judge.right(candidate, inputs).mean()) if judge.labels else None,
        inputs=inputs,
        differs=candidate.differs(best),
    )
