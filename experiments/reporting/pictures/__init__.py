"""The pictures of a report, drawn with Matplotlib.

- `tradeoff_figure`: error against size, with the Pareto front by name.
- `budget_figure`: structures of about equal size.
- `curve_figure`: learning curves.
- `rate_figure`: error against learning rate.
- `series_figure`: error against size, for every start and trunk.
- `start_figure`: error before and after training, start by start.
- `style`: what all pictures share: their look, their axes, their files (a module).
"""

from experiments.reporting.pictures import style
from experiments.reporting.pictures.by_size import series_figure, start_figure
from experiments.reporting.pictures.equal_size import budget_figure
from experiments.reporting.pictures.learning_curves import curve_figure
from experiments.reporting.pictures.learning_rates import rate_figure
from experiments.reporting.pictures.tradeoff import tradeoff_figure

__all__ = [
    "budget_figure",
    "curve_figure",
    "rate_figure",
    "series_figure",
    "start_figure",
    "style",
    "tradeoff_figure",
]
