"""The data sets: one module per set, each with a `load`, and a registry that knows them by name.

Every data set is loaded by its own name alone: none ever stands in for another. What is not known
here is looked for among the sets that are prepared in the TFDS folder.

- `load`: loads a data set by name.
"""

from experiments.data.sets.registry import load

__all__ = ["load"]
