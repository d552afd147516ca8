"""Reports on sweeps, finished or not: tables, pictures, one HTML page and a Markdown summary.

python -m experiments.report runs/mnist-ranks [--out=report/] [--within=0.5]
python -m experiments.report --fill=docs/results/mnist.md   a document's marked tables anew
python -m experiments.report --index=results                the list of kept runs anew
python -m experiments.report --claims [FILE]                do the claims follow from kept runs?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.reporting import (
    check_claims,
    claims_table,
    fill,
    write_index,
    write_report,
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # which keeps the lines
    )
    parser.add_argument(
        "workdir",
        nargs="*",
        help="work folder of a sweep, folder of run folders, a single run's folder, or the folder "
        "of another report (its runs.jsonl)",
    )
    parser.add_argument(
        "--out", help="the report's folder (default: report in a single workdir, else ./report)"
    )
    parser.add_argument(
        "--within",
        type=float,
        metavar="POINTS",
        help="percentage points of error above dense that the headline accepts "
        "(default: about a tenth of the dense error)",
    )
    parser.add_argument(
        "--fill",
        metavar="DOCUMENT",
        help="write anew the tables of a Markdown document that stand between <!-- table FOLDER: "
        "NAME --> and <!-- end of table -->, from the runs in these folders; no report is made",
    )
    parser.add_argument(
        "--index",
        metavar="FOLDER",
        help="write anew the README.md of a folder of kept runs, from its index.toml; no report is "
        "made",
    )
    parser.add_argument(
        "--claims",
        metavar="FILE",
        nargs="?",
        const="results/claims.toml",
        help="check every claim that the file (default: %(const)s) states, from the kept runs "
        "beside it; the exit status is 1 if one does not turn out as expected; no report is made",
    )
    options = parser.parse_args(arguments)
    if options.claims:
        return _claims(options.claims)
    if options.index:
        written = f"{options.index}/README.md"
        return _write(write_index, options.index, written, "Folders listed in")
    if options.fill:
        return _write(fill, options.fill, options.fill, "Tables written anew in")
    single = len(options.workdir) == 1
    out = Path(options.out or (Path(options.workdir[0]) / "report" if single else "report"))
    try:
        said = write_report(options.workdir, out, tolerance=options.within)
    except (ValueError, OSError) as error:
        print(f"No report: {error}", file=sys.stderr)
        return 1
    print("\n".join(said))
    print(
        f"\nThe report is {out / 'index.html'}; beside it are its tables, pictures and summary.md."
    )
    return 0


def _claims(file: str) -> int:
    try:
        verdicts = check_claims(file)
    except (ValueError, OSError) as error:
        print(f"{file} cannot be checked: {error}", file=sys.stderr)
        return 1
    print("\n".join(claims_table(verdicts)))
    surprising = [verdict for verdict in verdicts if not verdict.is_as_expected]
    for verdict in surprising:
        print(
            f"{verdict.claim.id} {verdict.outcome}, and {file} expects that it "
            f"{verdict.claim.expected}: correct the documents that say so, then `expected`.",
            file=sys.stderr,
        )
    return 1 if surprising else 0


def _write(write: Callable[[str], int], what: str, file: str, said: str) -> int:
    """Writes a file anew, and says how many parts of it there are."""
    try:
        number = write(what)
    except (ValueError, OSError) as error:
        print(f"{file} is as it was: {error}", file=sys.stderr)
        return 1
    print(f"{said} {file}: {number}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
