"""The finalists of a search: who is in, on how many inputs they were run, and who is refused.

A newcomer is run on the first ``LOOK`` inputs; who is refused there stays behind, the others are run
on all. The two tests share the error rate (``LOOK_ALPHA`` and ``LAST_ALPHA``, their sum is the
search's), so that looking early costs nothing of the promise.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import TensorSpec
from agent.preprocess.spec import PreprocessSpec
from calibration.candidate.best_set import best_set
from calibration.candidate.score import is_weak, likelihood_floor, unlabelled
from calibration.candidate.space import Candidate, Space
from calibration.evaluation import Evaluation

Watch: TypeAlias = Callable[[Sequence[int], str], Iterable[int]]
"""Wraps the inputs of one round (and what it is called) on their way, to show how far it is."""

LOOK: Final = 64
LOOK_ALPHA: Final = 0.02
LAST_ALPHA: Final = 0.03


class Judge:
    """Scores candidates of ``space`` over the inputs of ``evaluation``, and says who is truly worse."""

    def __init__(self, space: Space, evaluation: Evaluation, *, scores: bool, watch: Watch) -> None:
        self.space = space
        self.evaluation = evaluation
        self.labels = [int(label) for label in evaluation.labels if label is not None]
        output: TensorSpec = evaluation.model.outputs[getattr(evaluation.decoder, "output", 0)]
        self._floor = likelihood_floor(output, scores=scores)
        self._watch = watch
        self._specs: dict[Candidate, PreprocessSpec] = {}
        self._likelihoods: dict[tuple[Candidate, int], NDArray[np.float64]] = {}
        self._rights: dict[tuple[Candidate, int], NDArray[np.bool_]] = {}

    @property
    def tried(self) -> int:
        """How many specs were run on some input."""
        return len(self._specs)

    def spec(self, candidate: Candidate) -> PreprocessSpec:
        """The candidate's spec, made once."""
        if candidate not in self._specs:
            self._specs[candidate] = self.space.spec(candidate)
        return self._specs[candidate]

    def run(self, candidates: Sequence[Candidate], inputs: int, what: str) -> None:
        """Run the candidates on the first ``inputs`` inputs; what was run already costs nothing."""
        specs = [self.spec(candidate) for candidate in candidates]
        for index in self._watch(range(inputs), f"{len(specs)} {what}, {inputs} images"):
            self.evaluation.prefetch(specs, [index])

    def scores(self, candidates: Sequence[Candidate], inputs: int) -> NDArray[np.float64]:
        """Of candidates that were run, per input: (K, inputs)."""
        if self.labels:
            return np.stack([self._likelihood(candidate, inputs) for candidate in candidates])
        chosen = range(inputs)
        made = np.stack([self.evaluation.scores(self.spec(candidate), chosen) for candidate in candidates])
        return unlabelled(made, self._floor)

    def _likelihood(self, candidate: Candidate, inputs: int) -> NDArray[np.float64]:
        key = (candidate, inputs)
        if key not in self._likelihoods:
            found = self.evaluation.log_likelihood(self.spec(candidate), range(inputs))
            self._likelihoods[key] = np.maximum(found, self._floor)
        return self._likelihoods[key]

    def right(self, candidate: Candidate, inputs: int) -> NDArray[np.bool_]:
        """Whether the winning output is the label's, (inputs,). Needs labels."""
        key = (candidate, inputs)
        if key not in self._rights:
            self._rights[key] = self.evaluation.right(self.spec(candidate), range(inputs))
        return self._rights[key]

    def weak(self, candidate: Candidate, inputs: int) -> bool:
        """Whether the model hardly works even with this candidate."""
        return bool(self.labels) and is_weak(self.right(candidate, inputs), self.labels[:inputs])

    def apart(
        self, candidates: Sequence[Candidate], inputs: int, alpha: float
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Per candidate the corrected p, and whether it is truly worse than the best of them."""
        made = best_set(self.scores(candidates, inputs), alpha=alpha)
        if not self.weak(candidates[made.best], inputs):
            return made.p, made.distinguishable
        # What a model without skill holds likely says how blurred its answers are, not how it was
        # trained: only what it gets right counts, and is tested in the same way.
        rights = np.stack([self.right(candidate, inputs) for candidate in candidates])
        by_right = best_set(rights.astype(np.float64), alpha=alpha)
        return np.maximum(made.p, by_right.p), made.distinguishable & by_right.distinguishable


class Field:
    """The candidates under a final test. ``full`` were run on all inputs, ``early`` were refused after
    ``look`` inputs, each with its p."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.inputs = len(judge.evaluation)
        # A look at most of the inputs would save nothing.
        self.look = LOOK if self.inputs >= 2 * LOOK else self.inputs
        self.full: list[Candidate] = []
        self.early: dict[Candidate, float] = {}

    def admit(self, newcomers: Iterable[Candidate]) -> None:
        """Run those that are new, and part them from those that are refused at the first look."""
        new = [candidate for candidate in dict.fromkeys(newcomers) if candidate not in self]
        if not new:
            return
        self._judge.run(new, self.look, "finalists")
        together = [*self.full, *new]
        if self.look < self.inputs:
            p, apart = self._judge.apart(together, self.look, LOOK_ALPHA)
            first = len(self.full)
            refused = {c: float(p[first + i]) for i, c in enumerate(new) if apart[first + i]}
            self.early |= refused
            new = [candidate for candidate in new if candidate not in refused]
            self._judge.run(new, self.inputs, "finalists")
        self.full += new

    def __contains__(self, candidate: Candidate) -> bool:
        return candidate in self.full or candidate in self.early

    def best(self) -> Candidate:
        """The one with the highest mean score over all inputs."""
        return self.full[int(self._judge.scores(self.full, self.inputs).mean(axis=1).argmax())]

    def refused(self) -> frozenset[Candidate]:
        """Those that are truly worse, by either test."""
        _, apart = self._judge.apart(self.full, self.inputs, LAST_ALPHA)
        return frozenset((*self.early, *(c for c, far in zip(self.full, apart, strict=True) if far)))
