"""Where models started: from scratch, or from a trained dense model, decomposed."""

from __future__ import annotations

from experiments.reporting.trials.trial import Trial

SCRATCH = "from scratch"
_DECOMPOSED = ("decomposed", "decomposed by data")
_REORDERED = tuple(f"{start}, reordered" for start in _DECOMPOSED)
STARTS = tuple(
    f"{start}{taught}"
    for start in (SCRATCH, *_DECOMPOSED, *_REORDERED)
    for taught in ("", ", distilled")
)


def start_of(trial: Trial) -> str:
    """Returns which of STARTS a trial has."""
    start = SCRATCH
    if trial.config.get("compression.source"):
        kinds = _REORDERED if trial.config.get("compression.reordered") else _DECOMPOSED
        start = kinds[bool(trial.config["compression.weighted"])]
    return f"{start}, distilled" if trial.config.get("distillation.teacher") else start


def unordered(start: str) -> str:
    """Returns the same start without the reordering of hidden units."""
    return start.replace(", reordered", "")
