"""Numbers and names as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_WORDS: dict[tuple[str, bool | str], str] = {
    ("compression.source", True): "fine-tuned",
    ("compression.source", False): "from scratch",
    ("distillation.teacher", True): "taught",
    ("distillation.teacher", False): "no teacher",
    ("optimizer.scale_factors", True): "multipliers",
    ("optimizer.scale_factors", False): "no multipliers",
}
_PATTERNS = {
    "data.num_validation": "{} validation images",
    "train.num_epochs": "{} epochs",
    "optimizer.factor_gain": "gain {}",
}


def count(number: float) -> str:
    """Returns a whole number with separated thousands: `431,080`."""
    return f"{number:,.0f}"


def short_count(number: float) -> str:
    """Returns a number with three digits and a letter for its magnitude: `431k`."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{letter}"
    return f"{number:.3g}"


def percent(fraction: float, digits: int = 1) -> str:
    """Returns a fraction as a percentage that is 100% only if it is: `99.97%`."""
    while digits < 6 and abs(fraction) < 1 and f"{abs(fraction):.{digits}%}".startswith("100."):
        digits += 1
    return f"{fraction:.{digits}%}"


def spread(mean: float, std: float = math.nan, n: float = 1) -> str:
    """Returns an error rate with its spread over seeds: `0.75% ± 0.04 (n = 3)`."""
    if math.isnan(std):
        return f"{mean:.2%}"
    return f"{mean:.2%} ± {std * 100:.2f} (n = {n:.0f})"


def error_of(row: Any) -> str:
    """Returns the error of a row of a table as `spread`."""
    return spread(row.error, row.error_std, row.error_n)


def points(tolerance: float) -> str:
    """Returns a difference of error rates: `0.5 points`."""
    return f"{tolerance:g} {'point' if tolerance == 1 else 'points'}"


def settings_text(fields: Mapping[str, Any]) -> str:
    """Returns fields of a config as text: `seed=1 model.channels=24-24,48-48`."""
    return " ".join(f"{field}={value_text(value)}" for field, value in fields.items())


def value_text(value: Any, *, between: str = ",") -> str:
    """Returns a field's value as text, nested lists as `24-24,48-48`."""
    if not isinstance(value, list | tuple):
        return str(value)
    return between.join(value_text(part, between="-") for part in value)


def setting_words(field: str, value: bool | str) -> str:
    """Returns the value of a config's field in words: `4 epochs`, `taught`, `weight decay 0.1`."""
    if (field, value) in _WORDS:
        return _WORDS[field, value]
    if field in _PATTERNS and not isinstance(value, bool):
        return _PATTERNS[field].format(value)
    name = field.partition(".")[2].replace(".", " ").replace("_", " ") or field
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {value}"


def code(text: str) -> str:
    """Returns a text in backticks, for Markdown and for the page."""
    return "`" + text.replace("`", "'") + "`"


def shortened(text: str, length: int) -> str:
    """Returns the text, cut to at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
