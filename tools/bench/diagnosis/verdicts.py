"""What the ladder says to a case and a draw: recorded outputs in, verdict and cause out.

The ladder's own pure parts do it (``rungs``, ``judgement``, ``divergence``), on outputs that were run
before; nothing of how the mistakes are made is known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.contracts import TensorSpec
from agent.decode.classification import ClassificationDecoder
from calibration.check_result import Verdict
from calibration.outcomes import Answers, Truth, distances, flips, read_answers
from calibration.rung import judgement
from calibration.rung.measured import (
    DELEGATE,
    FLOAT,
    KERNELS,
    PREPROCESS,
    QUANTIZED,
    YOURS,
    Inputs,
    Measured,
    TensorFinding,
    Yardstick,
    compare,
    scored,
)
from tools.bench.diagnosis.cases import Case
from tools.bench.diagnosis.draws import Draw
from tools.bench.diagnosis.engines import Engine, Kernels
from tools.bench.diagnosis.noise import NOISE
from tools.bench.diagnosis.truth import ASPECT, CENTRAL, Outputs, Run

_REFERENCE, _NOISED = 32, 48
"""How many inputs of a golden set the reference kernels repeat, and are run once more with noise."""
_NEGLIGIBLE = 1e-6
_EQUAL = TensorFinding(within="exact", step=None, sentence="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """The ladder's answer to one draw of one case."""

    verdict: Verdict
    cause: str | None
    spoke: tuple[str, ...]


class Ladder:
    """Over one classifier: outputs as answers, made once."""

    def __init__(self, outputs: Outputs, specs: Mapping[str, TensorSpec], labels: Sequence[int]) -> None:
        self._outputs, self._specs = outputs, specs
        self._labels = tuple(labels)
        self._decoder = ClassificationDecoder(values="scores")
        self.answers = lru_cache(maxsize=24)(self._answers)

    def _answers(self, run: Run) -> Answers:
        rows = self._outputs[run]
        spec = self._specs[run[0].file]
        return read_answers([(row[None],) for row in rows], (spec,), self._decoder)

    def said(self, case: Case, draw: Draw, finding: TensorFinding | None) -> Said:
        """``finding``: what the tensor comparison found on this draw's inputs, for cases of it."""
        places = tuple(int(place) for place in draw.golden)
        taken = _Taken(self, case, places, tuple(self._labels[place] for place in places))
        rungs = judgement.judge(taken.measured(finding))
        verdict, cause, decided = judgement.overall(rungs)
        return Said(verdict=verdict, cause=cause, spoke=decided.spoke if decided else ())

    def floor(self, run: Run) -> float:
        return max(_NEGLIGIBLE, self._specs[run[0].file].scale)


class _Taken:
    """One draw of one case: the rungs as the ladder would measure them."""

    def __init__(self, ladder: Ladder, case: Case, places: tuple[int, ...], labels: tuple[int, ...]) -> None:
        self._ladder, self._case, self._places = ladder, case, places
        count = len(places)
        self._inputs = Inputs(truth=Truth(labels=labels), random=tuple(range(count)), margin=())
        base = CENTRAL if case.training == "central" else ASPECT
        production = (Engine(file=case.file), base)
        self._recorded = self._take(case.recorded)
        self._production = self._take(case.wrong if case.where == "kernels" else production)
        self._builtin = self._take((Engine(file=case.file, kernels="builtin"), base))
        # Where recorded outputs are the built-in kernels', these stand for the reference kernels too.
        slow = Engine(file=case.file, kernels=case.recorded[0].kernels)
        self._reference = self._take((slow, base))
        self._yardstick = self._noise()

    def measured(self, finding: TensorFinding | None) -> list[Measured]:
        found = [*self._packed(), self._kernels()]
        above, name = self._production, KERNELS
        if self._case.where == "delegate":
            above, name = self._take(self._case.wrong), DELEGATE
            found.append(self._delegate(above))
        found.append(self._prepared(PREPROCESS, name, above, above, _EQUAL))
        if self._case.where == "preprocess":
            wrong = self._take(self._case.wrong)
            found.append(self._prepared(YOURS, name, above, wrong, finding or _EQUAL))
        return found

    def _take(self, run: Run) -> Answers:
        return self._ladder.answers(run).take(self._places)

    def _bare(self, name: str, answers: Answers, compared: str | None, **more: object) -> Measured:
        labelled, right = scored(answers, self._inputs)
        return Measured(
            name=name,
            compared=compared,
            inputs=len(self._places),
            labelled=labelled,
            right=right,
            **more,  # type: ignore[arg-type]
        )

    def _against(self, above: Answers, here: Answers) -> dict[str, object]:
        return {
            "against": compare(above, here, self._inputs),
            "wobbles": self._yardstick.wobbles(above, here),
            "excess_p": self._yardstick.excess_p(above, here),
        }

    def _packed(self) -> list[Measured]:
        if self._case.where != "quantization":
            return [self._bare(QUANTIZED, self._recorded, None, against=None)]
        floats = self._take(self._case.right)
        return [
            self._bare(FLOAT, floats, None, against=None),
            self._bare(QUANTIZED, self._recorded, FLOAT, **self._against(floats, self._recorded)),
        ]

    def _kernels(self) -> Measured:
        few = range(min(_REFERENCE, len(self._places)))
        apart = distances(self._recorded.take(few), self._reference.take(few))
        scale = max(float(self._yardstick.distance.mean()), self._yardstick.floor)
        return self._bare(
            KERNELS,
            self._production,
            QUANTIZED,
            exact_wobbles=float(apart.mean()) / scale,
            reference_inputs=len(few),
            exact_runtime=True,
            **self._against(self._recorded, self._production),
        )

    def _delegate(self, here: Answers) -> Measured:
        families = (self._recorded, self._builtin, self._production)
        against = self._against(self._production, here)
        against["wobbles"] = min(self._yardstick.wobbles(family, here) for family in families)
        against["excess_p"] = max(self._yardstick.excess_p(family, here) for family in families)
        return self._bare(DELEGATE, here, KERNELS, **against)

    def _prepared(
        self, name: str, compared: str, above: Answers, here: Answers, finding: TensorFinding
    ) -> Measured:
        if finding.within == "exact":
            here = above
        return self._bare(name, here, compared, tensors=finding, **self._against(above, here))

    def _noise(self) -> Yardstick:
        """Of the family nearest to the recorded outputs; the bench ran the noise on production's
        kernels and on the built-in ones."""
        case = self._case
        nearer = [
            float(distances(self._recorded, found).mean()) for found in (self._production, self._builtin)
        ]
        kernels: Kernels = "auto" if nearer[0] <= nearer[1] else "builtin"
        clean = self._production if kernels == "auto" else self._builtin
        file = case.file
        noisy = self._take((Engine(file=file, kernels=kernels), NOISE[case.training]))
        places = tuple(range(min(_NOISED, len(self._places))))
        pairs = zip(clean.take(places).predictions, noisy.take(places).predictions, strict=True)
        flipped: NDArray[np.bool_] = np.array([flips(a, b) > 0 for a, b in pairs], np.bool_)
        return Yardstick(
            places=places,
            distance=distances(clean.take(places), noisy.take(places)),
            flipped=flipped,
            floor=self._ladder.floor(case.recorded),
        )
