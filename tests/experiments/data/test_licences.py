import json

import pytest

from experiments.data import terms_of_use
from experiments.data.sets import registry

KNOWN = [*registry._LOADERS, *registry._LOADERS_OF_VARIANTS]


@pytest.mark.parametrize("name", KNOWN)
def test_every_set_here_has_terms(name):
    assert "not known" not in terms_of_use(name)


def test_so_has_every_set_of_the_kept_runs(pytestconfig):
    kept = (pytestconfig.rootpath / "results").glob("*/runs.jsonl")
    runs = [json.loads(line) for path in kept for line in path.read_text().splitlines()]
    names = {run["config"]["data.name"] for run in runs if run["config"]}
    assert len(names) >= 4
    assert [name for name in sorted(names) if "not known" in terms_of_use(name)] == []


def test_a_variant_has_the_terms_of_its_set_and_another_set_none_that_are_known():
    assert terms_of_use("svhn_cropped/extra") == terms_of_use("svhn_cropped")
    assert "non-commercial" in terms_of_use("svhn_grey")
    assert "CC BY-SA 3.0" in terms_of_use("mnist_5k")
    assert "research only" in terms_of_use("casia_hwdb/48-200")
    assert "not known here: ask" in terms_of_use("my_own_images")
