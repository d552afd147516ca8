"""What a report says in words.

- `headline`: the result of a comparison in a few sentences.
- `rate_findings`: what a search for learning rates shows.
- `what_is_missing`: what a report cannot show yet, or must not hide.
"""

from experiments.reporting.sentences.learning_rates import rate_findings
from experiments.reporting.sentences.missing import what_is_missing
from experiments.reporting.sentences.result import headline

__all__ = ["headline", "rate_findings", "what_is_missing"]
