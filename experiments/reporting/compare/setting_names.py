"""Short names of settings: what tells them apart, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.reporting.wording import setting_words, value_text

_RUNS = ("compression.source", "distillation.teacher")
_FIRST = (  # what a reader wants to know first, beside those
    "train.num_epochs",
    "model.",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "optimizer.factor_gain",
)
_LONGEST = 24  # characters of a value; longer ones are numbered


def setting_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a name for each of the settings: the first fields that tell all of them apart.

    Args:
      settings: of every group, the fields of the config that differ between groups.
    """
    told: list[tuple[str, ...]] = [()] * len(settings)
    for words in _words(settings):
        more = [(*own, word) for own, word in zip(told, words, strict=True)]
        if len(set(more)) > len(set(told)):
            told = more
    return [", ".join(filter(None, own)) for own in told]


def _words(settings: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns the words on every field, one for each of the settings, the telling fields first."""
    fields = {field for own in settings for field in own}
    # First whether there is a source or a teacher at all, and which one it is only at last.
    runs = [field for field in _RUNS if field in fields]
    others = sorted(fields - {*runs}, key=lambda field: (_place(field), field))
    return [
        *([setting_words(field, bool(own.get(field))) for own in settings] for field in runs),
        *(_words_on(field, settings) for field in (*others, *runs)),
    ]


def _words_on(field: str, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the words on one field; long values are numbered in the order of the groups."""
    values = [own.get(field) for own in settings]
    texts = list(dict.fromkeys(value_text(value) for value in values if value is not None))
    are_long = any(len(text) > _LONGEST for text in texts)

    def words(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return setting_words(field, value)
        text = value_text(value)
        return setting_words(field, f"no. {texts.index(text) + 1}" if are_long else text)

    return [words(value) for value in values]


def _place(field: str) -> int:
    return next((i for i, start in enumerate(_FIRST) if field.startswith(start)), len(_FIRST))
