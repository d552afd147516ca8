"""Reports: from the folders of runs to tables, pictures, a page and a summary.

Everything is read from the files that runs and sweeps leave; nothing is computed by a model.
"""

from experiments.reporting.fill import fill, filled
from experiments.reporting.index import index_page, write_index
from experiments.reporting.write import write_report

__all__ = ["fill", "filled", "index_page", "write_index", "write_report"]
