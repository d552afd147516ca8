"""The difference between the errors of two methods, with what seeds and what images add to it.

Each method was trained with several seeds, and every model was tested on the same images. Another
choice of either would give another difference, so that both are drawn at random here: a crossed
design of two random factors, seeds within a method and images shared by both (see, for example,
Searle, Casella & McCulloch, Variance Components, 1992). With `e[s, i]` the error of seed `s` on
image `i`, the variance of the mean of a method is that of its seeds' means over their number, plus
that of its images' means over theirs, less what both of these count: the variance of what is left
when both means are taken off, over the number of all. For a difference, the images' means are those
of the difference. Degrees of freedom are Satterthwaite's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from experiments.runs import predictions

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of two mean errors, as fractions.

    Attributes:
      estimate: the first method's mean error minus the second's.
      standard_error: of the estimate, by seeds and images.
      degrees: degrees of freedom of that error.
      of_seeds, of_images: the parts of its variance.
      num_seeds: models of each method.
      improved: the share of pairs of models, one of each method, of which the first errs less;
        pairs that tie count a half.
    """

    estimate: float
    standard_error: float
    degrees: float
    of_seeds: float
    of_images: float
    num_seeds: tuple[int, int]
    improved: float

    @property
    def interval(self) -> tuple[float, float]:
        """Where the difference lies with a confidence of 95%."""
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, self.degrees)) * self.standard_error
        return self.estimate - half, self.estimate + half

    def p_value(self, margin: float = 0.0) -> float:
        """Returns how likely so low a difference is, at most, if it is `margin` or more in truth.

        Small values speak for the first method: with a margin above 0 for its being not worse by
        that, with 0 for its being better.
        """
        if self.standard_error == 0:
            return 0.0 if self.estimate < margin else 1.0
        return float(stats.t.cdf((self.estimate - margin) / self.standard_error, self.degrees))


def difference(
    first: Sequence[predictions.Predictions], second: Sequence[predictions.Predictions]
) -> Difference:
    """Returns the difference between two methods.

    Args:
      first: the predictions of one method's models, one for each seed.
      second: those of the other's, for the same images in the same order.

    Raises:
      ValueError: if a method has fewer than two models, or the images differ.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"There are {len(first)} and {len(second)} models; how much seeds differ needs two of "
            "each method."
        )
    _check_images([*first, *second])
    a, b = (_errors(models) for models in (first, second))
    images = a.shape[1]
    of_seeds = [float(np.var(e.mean(axis=1), ddof=1)) / len(e) for e in (a, b)]
    of_images = float(np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1)) / images
    both = sum(_residual(e) / e.size for e in (a, b))
    parts = [(of_seeds[0], len(a) - 1), (of_seeds[1], len(b) - 1), (of_images, images - 1)]
    total = sum(part for part, _ in parts)
    spread = sum(part**2 / degrees for part, degrees in parts)
    wins = np.sign(b.mean(axis=1)[None] - a.mean(axis=1)[:, None])
    return Difference(
        estimate=float(a.mean() - b.mean()),
        standard_error=math.sqrt(max(total - both, *(part for part, _ in parts))),
        degrees=total**2 / spread if spread else float(images - 1),
        of_seeds=sum(of_seeds),
        of_images=of_images,
        num_seeds=(len(a), len(b)),
        improved=float((wins.mean() + 1) / 2),
    )


def mcnemar(first: predictions.Predictions, second: predictions.Predictions) -> float:
    """Returns the exact two-sided p-value of McNemar's test between two models.

    Of the images that one of them gets right, each is as likely to be one's as the other's if the
    models are equally good (McNemar, Psychometrika 1947).

    Raises:
      ValueError: if the images differ.
    """
    _check_images([first, second])
    only_first = int(np.sum(first.is_correct & ~second.is_correct))
    only_second = int(np.sum(second.is_correct & ~first.is_correct))
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values that hold for all of a family at once (Holm, 1979)."""
    order = np.argsort(p_values)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _errors(models: Sequence[predictions.Predictions]) -> Float[np.ndarray, "seeds images"]:
    return np.stack([~its.is_correct for its in models]).astype(np.float64)


def _residual(errors: Float[np.ndarray, "seeds images"]) -> float:
    """Returns the variance of what is left of errors without the means of seeds and of images."""
    seeds, images = errors.shape
    left = errors - errors.mean(axis=1, keepdims=True) - errors.mean(axis=0) + errors.mean()
    return float(np.sum(left**2)) / ((seeds - 1) * max(1, images - 1))


def _check_images(models: Sequence[predictions.Predictions]) -> None:
    if len({(its.labels, len(its.predicted)) for its in models}) > 1:
        raise ValueError(
            "The models were tested on other images, or in another order: their labels have "
            "different digests. Compare runs of one data set and one version of it."
        )
