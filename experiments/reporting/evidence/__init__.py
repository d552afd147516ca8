"""How sure a difference between two methods is, and whether the claims that rest on it hold.

- `Difference`, `difference`: of two methods' errors, with an interval for seeds and images.
- `mcnemar`: whether two single models err on different images by chance.
- `holm`: p-values of a family, corrected for their number.
- `Claim`, `Verdict`, `read_claims`, `check_claims`: claims that are stated in a file.
- `claims_table`: verdicts as lines of a Markdown table.
"""

from experiments.reporting.evidence.claims import (
    Claim,
    Verdict,
    check_claims,
    claims_table,
    read_claims,
)
from experiments.reporting.evidence.crossed_design import Difference, difference, holm, mcnemar

__all__ = [
    "Claim",
    "Difference",
    "Verdict",
    "check_claims",
    "claims_table",
    "difference",
    "holm",
    "mcnemar",
    "read_claims",
]
