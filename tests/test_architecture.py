"""The direction of imports between the wings, and their doors."""

import ast
import importlib
import pathlib
import pkgutil
import re

import pytest

import kfc_jax

ROOT = pathlib.Path(__file__).parent.parent
WINGS = {  # what each one may import, besides itself
    "structures": (),
    "product": ("structures",),
    "decompose": ("structures",),
    "layers": ("structures", "product"),
    "tracing": ("structures", "product"),
    "nnx": ("structures", "layers"),
    "compress": ("structures", "product", "decompose", "layers", "tracing", "nnx"),
}


def imports_of(path):
    """Returns the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports say the whole path"
            is_top = node.module == "experiments"
            yield from (f"{node.module}.{a.name}" for a in node.names) if is_top else [node.module]


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_doors_of_the_wings_below(wing):
    for path in (ROOT / "kfc_jax" / wing).rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("kfc_jax.") and not name.startswith(f"kfc_jax.{wing}."):
                assert name in {f"kfc_jax.{below}" for below in WINGS[wing]} | {
                    "kfc_jax.text_table"
                }, f"{path} imports {name}"
            assert not name.startswith(("experiments", "configs")), f"{path} imports {name}"


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_has_a_door_of_a_few_names_none_of_which_hides_a_module(wing):
    door = importlib.import_module(f"kfc_jax.{wing}")
    assert 5 <= len(door.__all__) <= 12
    for name in door.__all__:
        assert f"`{name}`" in door.__doc__
    modules = {module.name for module in pkgutil.iter_modules(door.__path__)}
    assert not modules & set(door.__all__)
    assert not {m.name for m in pkgutil.iter_modules(kfc_jax.__path__)} & set(kfc_jax.__all__)


def test_names_of_kernel_parameters_are_written_in_the_file_of_their_kind():
    found = {}
    for folder in ("kfc_jax", "experiments", "configs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                text = node.value if isinstance(node, ast.Constant) else None
                if isinstance(text, str) and re.fullmatch(
                    r"kernel_(?:[uv]|blocks|\d.*|\W.*)?", text
                ):
                    found.setdefault(str(path.relative_to(ROOT)), set()).add(text)
    assert found == {
        "kfc_jax/structures/block_diagonal.py": {"kernel_blocks"},
        "kfc_jax/structures/low_rank.py": {"kernel_u", "kernel_v", "kernel_([uv])"},
        "kfc_jax/structures/sum_of_factors.py": {"kernel_", r"kernel_(\d+)_(\d+)"},
    }


def test_structures_need_no_jax():
    for path in (ROOT / "kfc_jax" / "structures").glob("*.py"):
        roots = {name.partition(".")[0] for name in imports_of(path)}
        assert not roots & {"jax", "flax", "optax", "numpy", "jaxtyping"}, path


COMMANDS = ("train", "compress", "sweep", "report", "benchmark", "publish", "any_model")
ROOMS = {  # what each one may import, besides itself and the doors of `kfc_jax`
    "config": (),
    "system": (),
    "runs": ("config", "system"),
    "models": ("config", "runs"),
    "data": ("system",),
    "training": ("config", "system", "runs", "models", "data"),
    "sweeping": ("config", "system", "runs", "training"),
    "reporting": ("config", "system", "runs"),
    "publishing": ("config", "system", "runs", "models", "data", "training", "reporting"),
    "benchmarking": ("config", "system", "runs", "models", "training", "reporting"),
    "any_flax_model": ("system", "runs", "data", "reporting"),
}
EXPERIMENTS = ROOT / "experiments"
FOLDERS = sorted(door.parent for door in EXPERIMENTS.rglob("*/__init__.py"))


def test_at_the_top_of_the_experiments_there_are_only_commands_and_rooms():
    found = {module.name for module in pkgutil.iter_modules([str(EXPERIMENTS)])}
    assert found == {*COMMANDS, *ROOMS}


@pytest.mark.parametrize("room", [*COMMANDS, *ROOMS])
def test_a_room_imports_only_doors_of_the_rooms_below(room):
    for path in [*(EXPERIMENTS / room).rglob("*.py"), EXPERIMENTS / f"{room}.py"]:
        for name in imports_of(path) if path.exists() else ():
            top, *below = name.split(".")
            assert top not in ("configs", "tests"), f"{path} imports {name}"
            if top == "kfc_jax" and not (room == "benchmarking" and below[:1] == ["product"]):
                assert ".".join(below) in {"", "text_table", *WINGS}, f"{path} imports {name}"
            elif top == "experiments":
                assert below[0] in (room, *ROOMS.get(room, ROOMS)), f"{path} imports {name}"
                target = EXPERIMENTS.joinpath(*below)
                # Inside a folder, and from those in it, modules are imported as such.
                assert target.is_dir() or target.parent in path.parents, f"{path} imports {name}"


REPORTING = {  # what each of its folders may import, besides itself
    "trials": (),
    "compare": ("trials",),
    "sentences": ("trials", "compare"),
    "tables": ("trials", "compare"),
    "pictures": ("trials", "compare"),
    "pages": ("trials", "compare", "sentences", "tables", "pictures"),
}


@pytest.mark.parametrize("folder", REPORTING)
def test_a_report_is_made_in_one_direction(folder):
    for path in (EXPERIMENTS / "reporting" / folder).glob("*.py"):
        for name in imports_of(path):
            if name.startswith("experiments.reporting."):
                target = name.split(".")[2]
                assert target in (folder, "wording", *REPORTING[folder]), f"{path} imports {name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_folder_has_a_door_of_a_few_names_that_are_told(folder):
    door = importlib.import_module(".".join(folder.relative_to(ROOT).parts))
    assert 1 <= len(door.__all__) <= 12
    assert [name for name in door.__all__ if f"`{name}`" not in door.__doc__] == []
    for name in {module.stem for module in folder.iterdir()} & set(door.__all__):
        module = importlib.import_module(f"{door.__name__}.{name}")
        assert getattr(door, name) is module, f"{name} hides a module"
