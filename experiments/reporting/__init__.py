"""Reports: from the folders of runs to tables, pictures, a page and a summary.

Everything is read from the files that runs and sweeps leave; nothing is computed by a model.

- `write_report`: writes the report of one or more sweeps into a folder.
- `fill`, `filled`: the tables inside a document, written from kept runs.
- `write_index`, `index_page`: the list of kept runs.
- `check_claims`, `claims_table`: what kept runs say of the claims that are stated in a file.

Inside, it goes from `trials` over `evidence` and `compare` to `sentences`, `tables` and `pictures`,
and from these to `pages`; `wording` says how numbers and names are written.
"""

from experiments.reporting.documents import fill, filled
from experiments.reporting.evidence import check_claims, claims_table
from experiments.reporting.index import index_page, write_index
from experiments.reporting.write import write_report

__all__ = [
    "check_claims",
    "claims_table",
    "fill",
    "filled",
    "index_page",
    "write_index",
    "write_report",
]
