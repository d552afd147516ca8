"""What a report is read in: one HTML page, and Markdown.

- `page`: the whole report as one HTML page that needs no network.
- `Part`: what a report has on one comparison.
- `Picture`: a picture of it.
- `rates_name`: the name of a picture of learning rates.
- `summary`: the whole report as Markdown.
- `table_lines`: one table as lines of Markdown.
- `tables`: the tables of a comparison as lines of Markdown, by name.

The page is of our own script and style (`report.js`, `report.css`), and no library draws its plot.
Tried with altair 6.3 and vl-convert 1.9, whose script went into the page:

- A page with a plot of three points has 899 kB, against 28 kB of our script and style. Whole pages
  have 0.5 MB (MNIST) and 1.4 MB (house numbers), nearly all of it pictures.
- Vega compiles its expressions from text. Under the policy of our page, which forbids that along
  with every request, it throws an EvalError and draws nothing.
- Nothing in its plot can be focused with Tab.
- It has no tables, so that sorting and filtering stay ours.

It would have replaced some 250 of our lines, and taken away what the tests in a browser ask for.
"""

from experiments.reporting.pages.html import page
from experiments.reporting.pages.markdown import summary, table_lines, tables
from experiments.reporting.pages.sections import Part, Picture, rates_name

__all__ = ["Part", "Picture", "page", "rates_name", "summary", "table_lines", "tables"]
