"""Time to accuracy: CPU seconds to a given error of a curve, for three contestants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dmft.bench import classical, ensemble, mean_field
from dmft.bench.cases import Case
from dmft.bench.ledger import Ledger, Record
from dmft.bench.outcome import Outcome
from dmft.bench.reference import reference

_POOL_SECONDS = 15.0  # CPU seconds for the ensemble's pool of the largest dimension
RIVAL_SECONDS = 30.0  # of a rival's run, up to which it is made three times instead of predicted


def time_to_accuracy(
    case: Case, ledger: Ledger, small: bool = False, rival_seconds: float = RIVAL_SECONDS
) -> Record:
    """Outcomes of all contestants on one case, and how much longer than the solver others take."""
    against = reference(case, ledger)
    budget, pool = (rival_seconds, _POOL_SECONDS) if not small else (1.0, 0.5)
    races: dict[str, Callable[[], Outcome]] = {
        "mean-field": lambda: mean_field.climb(case, against.values, ledger, case.targets),
        "classical": lambda: classical.race(case, against.values, ledger, case.targets, budget),
        "ensemble": lambda: ensemble.race(case, against.values, ledger, case.targets, pool, budget),
    }
    outcomes = {name: races[name]() for name in ("mean-field", *case.rivals)}
    ours = outcomes["mean-field"]
    ratios: dict[str, Any] = {
        name: {
            f"{target:g}": outcomes[name].reached[target].seconds / ours.reached[target].seconds
            for target in case.targets
        }
        for name in case.rivals
    }
    return {
        "title": case.title,
        "curve": ", ".join(case.judged_curves),
        "reference_error": against.error,
        "rival_seconds": budget,
        "contestants": {name: outcome.to_dict() for name, outcome in outcomes.items()},
        "ratios": ratios,
    }
