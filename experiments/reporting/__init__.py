"""Reports: from the folders of runs to tables, pictures, a page and a summary.

Everything is read from the files that runs and sweeps leave; nothing is computed by a model.

- `write_report`: writes the report of one or more sweeps into a folder.
- `fill`, `filled`: the tables inside a document, written from kept runs.
- `write_index`, `index_page`: the list of kept runs.

Inside, it goes from `trials` over `compare` to `sentences`, `tables` and `pictures`, and from these
to `pages`; `wording` says how numbers and names are written.
"""

from experiments.reporting.documents import fill, filled
from experiments.reporting.index import index_page, write_index
from experiments.reporting.write import write_report

__all__ = ["fill", "filled", "index_page", "write_index", "write_report"]
