import pytest

from experiments.reporting import write_report
from tests.experiments.reporting import folders


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory):
    """A finished sweep of 18 structures with 3 seeds; not to be changed by a test."""
    return folders.write_sweep(tmp_path_factory.mktemp("sweeps") / "mnist-ranks", folders.CASES)


@pytest.fixture(scope="session")
def finished_report(finished_sweep, tmp_path_factory):
    """The folder of the report on `finished_sweep`; not to be changed by a test."""
    out = tmp_path_factory.mktemp("reports") / "report"
    write_report([finished_sweep], out)
    return out
