"""Reports: from the folders of runs to tables, pictures, a page and a summary.

Everything is read from the files that runs and sweeps leave; nothing is computed by a model.
"""

from experiments.reporting.fill import fill, filled
from experiments.reporting.write import write_report

__all__ = ["fill", "filled", "write_report"]
