import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from kfc_jax import CompressedModel, convert, plan_compression
from kfc_jax.compress import Checkpoint
from kfc_jax.structures import layer_kinds, read_layer_structure
from tests.kfc_jax.reference import message_of

TEXTS = {  # of every kind of this library, for a kernel of 12x11 or 12x8
    "kfc": ["2:3x4*4x2", "1:3x4*4x2+2:2x2*6x4", "2:3x3*4x4@12x11"],
    "low_rank": ["rank 3"],
    "block_diagonal": ["blocks 4", "blocks 4 interleaved"],
    "dense": ["dense"],
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer_of(text):
    """The structure that a text means here, and arrays for it."""
    features = 11 if text.endswith("11") else 8
    structure = read_layer_structure(text, 12, features)
    arrays = {name: normal(*shape) for name, shape in structure.array_shapes.items()}
    return structure, {"bias": normal(features), **arrays}


def saved(tmp_path, *args):
    path = tmp_path / "model.safetensors"
    Checkpoint(*args).save(path)
    return path


def assert_same_bits(found, expected):
    found, expected = (jax.tree_util.tree_leaves_with_path(tree) for tree in (found, expected))
    assert [path for path, _ in found] == [path for path, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_there_is_a_layer_of_every_kind():
    ours = {name for name, kind in layer_kinds().items() if kind.__module__.startswith("kfc_jax.")}
    assert ours == TEXTS.keys()


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in TEXTS.items() for text in texts]
)
def test_a_layer_of_every_kind_comes_back_bit_by_bit(kind, text, tmp_path):
    structure, arrays = layer_of(text)
    variables = {"params": {"block": {"fc1": arrays}}}
    path = saved(tmp_path, variables, {"block/fc1": structure})
    found = Checkpoint.load(path)
    assert_same_bits(found.variables, variables)
    assert found.structures == {"block/fc1": text}
    with safetensors.safe_open(path, "np") as file:
        assert "params/block/fc1/bias" in file.keys()  # noqa: SIM118
        entry = json.loads(file.metadata()["kfc_jax"])
    assert entry["format_version"] == 1
    assert entry["structures"] == {"block/fc1": {"kind": kind, "structure": text}}


WHOLE = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", ["bool", "bfloat16", "float16", "float32", "float64", *WHOLE])
def test_types_and_odd_shapes_come_back(dtype, tmp_path):
    values = (5 * abs(normal(2, 3))).astype(jnp.dtype(dtype))
    odd = {
        "scalar": values[0, 0],
        "none": values[:0],
        "turned": values.T,
        "every second": values[:, ::2],
    }
    variables = {"params": {"odd": odd}, "batch_stats": {"norm": {"mean": values}}}
    assert_same_bits(Checkpoint.load(saved(tmp_path, variables)).variables, variables)


def test_nan_and_negative_zero_stay_what_they_are(tmp_path):
    variables = {"params": {"fc": {"bias": np.float32([np.nan, -0.0, np.inf])}}}
    assert_same_bits(Checkpoint.load(saved(tmp_path, variables)).variables, variables)


def test_metadata_comes_back(tmp_path):
    metadata = {"model": {"name": "ü", "sizes": [1, 2.5]}, "error": None}
    variables = {"params": {"fc": {"bias": normal(3)}}}
    assert Checkpoint.load(saved(tmp_path, variables, {}, metadata)).metadata == metadata


def test_the_same_checkpoint_is_the_same_bytes():
    structure, arrays = layer_of("rank 3")
    texts = {name: structure for name in "abcd"}
    many = Checkpoint({"params": dict.fromkeys("abcd", arrays)}, texts, {"x": 1, "y": 2})
    assert len({many.to_bytes() for _ in range(10)}) == 1


def test_a_plan_and_its_converted_parameters_run_as_before(tmp_path):
    model, x = nn.Sequential([nn.Dense(24), nn.relu, nn.Dense(10)]), normal(5, 36)
    params = model.init(jax.random.key(0), x)["params"]
    plan = plan_compression(params, 0.5)
    small, _ = convert(params, plan)
    found = Checkpoint.load(saved(tmp_path, {"params": small}, plan))
    assert found.structures == plan.structures
    expected = CompressedModel(model, plan.structures).apply({"params": small}, x)
    outputs = CompressedModel(model, found.structures).apply(found.variables, x)
    assert np.asarray(outputs).tobytes() == np.asarray(expected).tobytes()


def test_what_cannot_be_saved_is_told(tmp_path):
    structure, arrays = layer_of("rank 3")
    params = {"fc1": arrays}
    assert '{"params": params}' in message_of(Checkpoint, params, {"fc1": structure})
    for texts, message in [
        ({}, "'fc1' has kernel_u, kernel_v, which mean nothing without their structure"),
        ({"fc2": "rank 3"}, "no layer 'fc2'; they have fc1"),
        ({"fc1": "rank 2"}, "'fc1' has the arrays {'kernel_u': (12, 3), 'kernel_v': (3, 8)}"),
        ({"fc1": "2:3x4*4x2"}, "not those of '2:3x4*4x2'"),
    ]:
        assert message in message_of(Checkpoint, {"params": params}, texts)
    padded = {"params": {"fc1": layer_of("2:3x3*4x4@12x11")[1]}}
    assert "'2:3x3*4x4@12x11'" in message_of(Checkpoint, padded, {"fc1": "2:3x3*4x4"})
    for odd, message in [
        ({"a/b": arrays["bias"]}, "'a/b' in params/fc/ is no name"),
        ({"bias": [1.0]}, "params/fc/bias is of type list"),
        ({"bias": nn.Partitioned(arrays["bias"], (None,))}, "flax.linen.unbox"),
        ({"bias": jnp.ones(3, jnp.float8_e5m2)}, "params/fc/bias is of type float8_e5m2"),
        ({"key": jax.random.key(0)}, "params/fc/key is of type key<fry>"),
    ]:
        assert message in message_of(Checkpoint({"params": {"fc": odd}}).save, tmp_path / "x")
    assert not (tmp_path / "x").exists()


# --------------------------------------------------------------------------------- damaged files


@pytest.fixture
def path(tmp_path):
    """A file with a layer of two thin matrices."""
    structure, arrays = layer_of("rank 3")
    return saved(tmp_path, {"params": {"fc1": arrays}}, {"fc1": structure})


def entry_of(**changes):
    """The metadata of that file, with changes."""
    layers = {"fc1": {"kind": "low_rank", "structure": "rank 3"}}
    entry = {"format_version": 1, "structures": layers, "metadata": {}}
    return {"kfc_jax": json.dumps(entry | changes)}


def with_metadata(metadata, **arrays):
    def change(path):
        kept = safetensors.numpy.load_file(path)
        path.write_bytes(safetensors.numpy.save(kept | arrays, metadata))

    return change


def cut(length):
    return lambda path: path.write_bytes(path.read_bytes()[:length])


OF_ANOTHER_KIND = {"fc1": {"kind": "thinner", "structure": "rank 3"}}
OF_THE_WRONG_KIND = {"fc1": {"kind": "kfc", "structure": "rank 3"}}
OF_ANOTHER_RANK = {"fc1": {"kind": "low_rank", "structure": "rank 2"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("no such file" * 9), r"is no whole safetensors file"),
        (cut(-1), r"is no whole safetensors file .*Write or fetch the file again"),
        (cut(100), r"is no whole safetensors file"),
        (cut(0), r"is no whole safetensors file"),
        (with_metadata(None), r"without the structures of layers.*Checkpoint saved"),
        (with_metadata({"format": "pt"}), r"without the structures of layers.*load_file"),
        (with_metadata({"kfc_jax": "{"}), r"metadata that cannot be read \(JSONDecodeError.*again"),
        (with_metadata({"kfc_jax": "[]"}), r"metadata that cannot be read"),
        (
            with_metadata({"kfc_jax": '{"format_version": 1}'}),
            r"metadata that cannot be read \(Key",
        ),
        (with_metadata(entry_of(structures=[1])), r"metadata that cannot be read"),
        (with_metadata(entry_of(metadata=3)), r"metadata that cannot be read"),
        (with_metadata({"kfc_jax": '{"format_version": 2}'}), r"of version 2 .* or a newer one"),
        (with_metadata(entry_of(structures=OF_ANOTHER_KIND)), r"'thinner', .*import the module"),
        (with_metadata(entry_of(structures=OF_THE_WRONG_KIND)), r"contradicts itself.*'kfc'"),
        (with_metadata(entry_of(structures=OF_ANOTHER_RANK)), r"not those of 'rank 2'.*again"),
        (with_metadata(entry_of(structures={})), r"contradicts itself.*kernel_u"),
        (
            with_metadata(entry_of(), **{"params/fc1/kernel_u": normal(12, 2)}),
            r"contradicts itself\. Layer 'fc1' has .*not those of 'rank 3'.*again",
        ),
        (
            with_metadata(entry_of(), **{"params/fc1/bias/x": normal(1)}),
            r"contradicts itself\. params/fc1/bias",
        ),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(path, change, message):
    change(path)
    with pytest.raises(ValueError, match=message) as caught:
        Checkpoint.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        Checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(OSError, match=str(tmp_path)):
        Checkpoint.load(tmp_path)


def test_the_library_does_without_safetensors_until_a_file_is_asked_for():
    code = (
        "import sys; sys.modules['safetensors'] = None\n"
        "import kfc_jax\n"
        "from kfc_jax.compress import Checkpoint\n"
        "try: Checkpoint({'params': {}}).to_bytes()\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'kfc-jax[safetensors]'" in done.stdout
