"""What a bundle learnt from replayed faults, in plain values and in words."""

from typing import Any

from agent.bundle import Bundle
from agent.monitor.estimate import Estimator
from calibration.replay.learning import Learnt


def summary(made: Bundle) -> dict[str, Any]:
    """The replay's part of a JSON summary. ``error_*``: within so much of the truth (accuracy, or the root
    of the mean squared error) 90 % of estimates stayed, for faults that were left out of what was learnt
    from, after the smallest shifts and after the largest; null where nothing was learnt."""
    estimator, library = made.estimator, made.signatures
    return {
        "estimator": estimator.spoken if estimator else None,
        "measure": estimator.measure if estimator else None,
        "error_small_shift": _error(estimator, 0),
        "error_large_shift": _error(estimator, -1),
        "signatures": len(library.names) if library else 0,
        "families": _families(made),
        "inputs": library.inputs if library else 0,
    }


def packed(learnt: Learnt, made: Bundle) -> dict[str, Any]:
    """``summary``, how much was replayed, and why not where nothing was."""
    return {**summary(made), "held_out": learnt.held_out, "reason": learnt.reason}


def rows(made: Bundle, reason: str = "packed without replayed faults") -> list[tuple[str, str]]:
    """Lines of a two-column table; ``reason``: why there is nothing, when there is nothing."""
    said = summary(made)
    if made.estimator is None or made.signatures is None:
        return [("replayed faults", f"none: {reason}")]
    what = f"{said['signatures']} in {len(said['families'])} families, on {said['inputs']} inputs each"
    return [
        ("replayed faults", what),
        ("accuracy unlabelled", f"{said['estimator']}; {_errors(made.estimator)}, 90 %, of faults left out"),
    ]


def _families(made: Bundle) -> list[str]:
    """Of single faults, in the order they were replayed."""
    if made.signatures is None:
        return []
    return list(dict.fromkeys(part for family in made.signatures.families for part in family.split("+")))


def _error(estimator: Estimator | None, at: int) -> float | None:
    return float(estimator.scatter.half[at]) if estimator is not None else None


def _errors(estimator: Estimator) -> str:
    small, large = float(estimator.scatter.half[0]), float(estimator.scatter.half[-1])
    if estimator.measure == "mse":
        return f"RMSE ± {small:.3g} (small shifts) to ± {large:.3g} (large)"
    return f"± {100 * small:.1f} points (small shifts) to ± {100 * large:.1f} (large)"
