"""Made-up predictions of models that err at random, on images that are hard by chance."""

import numpy as np

from experiments.runs.predictions import Predictions


def models(rng, errors, seeds, images, *, seed_spread=0.0, hardness=None):
    """Returns predictions of some models; two calls with one `hardness` share hard images."""
    labels = np.arange(images) % 10
    found = []
    for _ in range(seeds):
        rate = errors * (1 + seed_spread * rng.standard_normal())
        chance = np.clip(rate * (1 if hardness is None else hardness), 0, 1)
        wrong = rng.random(images) < chance
        found.append(
            Predictions.of(labels, np.where(wrong, (labels + 1) % 10, labels), 0.5 * labels / 9)
        )
    return found
