"""The notebook for newcomers runs from the folder where it lies, and does what it says."""

import json
import os
import sys

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

# What the notebook has found when it ends, counted from the arrays.
FOUND = """
import json
from pathlib import Path

import jax
print(json.dumps({
    "sizes": [sum(a.size for a in jax.tree.leaves(params)) for params in (dense, small)],
    "planned": plan.parameters,
    "errors": [dense_error, error_before, error_after],
    "interpreter": sys.executable,
    "left": Path(temporary.name).exists(),
    "folder": str(Path.cwd()),
}))
"""


@pytest.fixture(scope="module")
def stored(pytestconfig):
    """The notebook as it is kept."""
    return nbformat.read(pytestconfig.rootpath / "docs" / "getting_started.ipynb", as_version=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a notebook from a folder, in a kernel of this very interpreter."""
    settings = {"IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")), "JAX_PLATFORMS": "cpu"}

    def execute(notebook, folder):
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            timeout=900,  # seconds for a cell
        )
        client.create_kernel_manager()
        # Without folders to look in, what remains is ipykernel's own specification.
        client.km.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
        return client.execute(env=os.environ | settings)  # raises where a cell fails

    return execute


def with_cell(cells, code):
    """Returns a notebook of some cells and one more."""
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(code)])
    return nbformat.from_dict(json.loads(json.dumps(notebook)))  # copies, as running fills it


def printed(cell):
    """Returns what a cell wrote to its standard output."""
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def test_it_is_stored_without_what_a_run_leaves(stored):
    nbformat.validate(stored)
    assert stored.metadata.kernelspec.name == "python3"
    for cell in stored.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert "execution" not in cell.metadata


def test_it_finds_the_root_from_the_root(stored, run, pytestconfig):
    first = next(cell for cell in stored.cells if cell.cell_type == "code")
    done = run(with_cell([first], "print(Path.cwd())"), pytestconfig.rootpath)
    assert printed(done.cells[-1]).strip() == str(pytestconfig.rootpath)


def test_it_runs_and_its_compressed_model_is_smaller(stored, run, pytestconfig):
    done = run(with_cell(stored.cells, FOUND), pytestconfig.rootpath / "docs")
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1

    found = json.loads(printed(done.cells[-1]))
    dense, small = found["sizes"]
    assert small == found["planned"] <= 0.25 * dense
    error, before, after = found["errors"]
    assert error < 0.1
    assert after < before
    assert after < error + 0.03
    assert found["interpreter"] == sys.executable
    assert found["folder"] == str(pytestconfig.rootpath)
    assert not found["left"]


# What the notebook on other models has found when it ends, counted from the arrays.
FOUND_OF_MODELS = """
import json

print(json.dumps({
    "sizes": [sum(a.size for a in jax.tree.leaves(params)) for params in (dense, small)],
    "nnx_sizes": [
        sum(a.size for a in jax.tree.leaves(nnx.state(module, nnx.Param)))
        for module in (encoder, small_encoder)
    ],
    "losses": [dense_loss, loss_before, loss_after],
    "distances": [distances[0], distances[-1]],
}))
"""


@pytest.fixture(scope="module")
def stored_of_models(pytestconfig):
    """The notebook on other models as it is kept."""
    return nbformat.read(pytestconfig.rootpath / "docs" / "compress_any_model.ipynb", as_version=4)


def test_the_one_on_other_models_is_stored_without_what_a_run_leaves(stored_of_models):
    test_it_is_stored_without_what_a_run_leaves(stored_of_models)


def test_the_one_on_other_models_halves_them_and_wins_back_what_was_lost(
    stored_of_models, run, pytestconfig
):
    done = run(with_cell(stored_of_models.cells, FOUND_OF_MODELS), pytestconfig.rootpath / "docs")
    found = json.loads(printed(done.cells[-1]))
    for dense, small in (found["sizes"], found["nnx_sizes"]):
        assert 0.4 * dense < small <= 0.5 * dense
    error, before, after = found["losses"]
    assert error < after < before
    assert after - error < 0.5 * (before - error)
    assert found["distances"][1] < 0.5 * found["distances"][0]
