"""From a finished run to a model that others can take: one small file, and a card that tells it.

- `publish`: writes both into a folder, which `experiments.models.load_published` reads.
"""

from experiments.publishing.write import publish

__all__ = ["publish"]
