"""How probable it is that an answer is right, given its score: a curve that never falls. And how large
a regression's squared error is, given the value it predicts.

Fitted by isotonic regression (B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate
multiclass probability estimates", KDD 2002) on held-out inputs. Its mean over a window estimates the
window's accuracy; NannyML calls this confidence-based performance estimation (CBPE).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """scores float64 (K,), rising; rights float64 (K,); straight in between, flat outside.

    Of a classification's score the rights are probabilities and never fall; of a regression's predicted
    value they are expected squared errors.
    """

    scores: NDArray[np.float64]
    rights: NDArray[np.float64]

    def right(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of each score what is expected: the shape of ``scores``."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.rights)
