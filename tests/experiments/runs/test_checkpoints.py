"""Damage to checkpoints is noticed, told in a line, and mended as far as older ones go."""

import errno
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.runs.checkpoints import Checkpoints, read_parts

# What Orbax leaves behind when it fails on a damaged file is none of our business.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

POSITION = {"batches": {"step": 3}, "window": [[0.1, 2e-9]]}


def state(step):
    params = {"fc1": {"kernel": jnp.arange(600.0).reshape(20, 30) + step, "bias": jnp.ones(30)}}
    optimizer = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1))
    return {"step": jnp.int32(step), "params": params, "opt_state": optimizer.init(params)}


def positions(step):
    return POSITION | {"step": step}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a run with checkpoints of the steps 2 and 3; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step), positions(step))
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def files_of(checkpoint):
    return sorted(f for f in checkpoint.rglob("*") if f.is_file() and f.stat().st_size)


def array_file(checkpoint):
    return max(files_of(checkpoint / "state"), key=lambda file: file.stat().st_size)


def flip(file, bit):
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def restored(run):
    """Restores, and returns the state, the position and the lines that were said."""
    said = []
    with Checkpoints(run / "checkpoints") as checkpoints:
        found, position = checkpoints.restore(state(0), said.append)
    return found, position, said


def is_state(found, step):
    wanted = state(step)
    equal = jax.tree.map(lambda a, b: np.array_equal(a, b), found, wanted)
    return all(jax.tree.leaves(equal))


def test_what_was_saved_is_restored_to_the_bit(run):
    found, position, said = restored(run)
    assert is_state(found, 3)
    assert (position, said) == (positions(3), [])


def test_no_flipped_bit_is_believed(run, tmp_path):
    rng = random.Random(0)
    files, noticed = files_of(run / "checkpoints/3"), 0
    wanted = [array_file(run / "checkpoints/3")] * 6 + rng.choices(files, k=6)
    for number, file in enumerate(wanted):
        copy = shutil.copytree(run, tmp_path / str(number))
        flip(copy / file.relative_to(run), rng.randrange(8 * file.stat().st_size))
        found, position, said = restored(copy)
        step = 2 if said else 3
        noticed += bool(said)
        assert is_state(found, step)
        assert position == positions(step)
    assert noticed >= 3  # the others were in what nobody reads, and changed nothing


def remove_array(checkpoint):
    array_file(checkpoint).unlink()


def cut_array(checkpoint):
    file = array_file(checkpoint)
    file.write_bytes(file.read_bytes()[:100])


def empty(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def remove_position(checkpoint):
    shutil.rmtree(checkpoint / "position")


def change_position(checkpoint):
    file = checkpoint / "position/metadata"
    file.write_text(file.read_text().replace("0.1", "0.3"))


def cut_digests(checkpoint):
    (checkpoint / "digests/metadata").write_text('{"state"')


def change_digests(checkpoint):
    file = checkpoint / "digests/metadata"
    file.write_text(file.read_text().replace("params/fc1/bias", "params/fc2/bias"))


DAMAGE = [
    *(remove_array, cut_array, empty, remove_position, change_position),
    *(cut_digests, change_digests),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_taken(run, damage):
    damage(run / "checkpoints/3")
    found, position, said = restored(run)
    assert is_state(found, 2)
    assert position == positions(2)
    (line,) = said
    assert line.startswith("The checkpoint of step 3 is damaged (")
    assert line.endswith("damaged-checkpoints/3. Going back to step 2.")
    assert "\n" not in line
    assert (run / "damaged-checkpoints/3").is_dir()  # nothing is deleted
    with Checkpoints(run / "checkpoints") as checkpoints:  # and the run goes on as ever
        checkpoints.save(3, state(3), positions(3))
        damage(run / "checkpoints/3")
    assert len(restored(run)[2]) == 1
    assert (run / "damaged-checkpoints/3-2").is_dir()


def test_when_all_are_damaged_one_line_says_how_to_begin_anew(run):
    for step in (2, 3):
        remove_array(run / f"checkpoints/{step}")
    with pytest.raises(ValueError, match="starts from the beginning") as caught:
        restored(run)
    assert "\n" not in str(caught.value)
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() is None


def test_a_checkpoint_of_another_model_is_named_and_stays(run):
    other = state(0)
    other["params"]["fc1"]["kernel"] = jnp.zeros((20, 31))
    with (
        Checkpoints(run / "checkpoints") as checkpoints,
        pytest.raises(ValueError, match=r"params/fc1/kernel is \(20, 30\) in the checkpoint and"),
    ):
        checkpoints.restore(other)
    assert is_state(restored(run)[0], 3)


def test_parts_that_are_damaged_are_not_read_and_nothing_is_moved(run):
    like = {"params": jax.eval_shape(lambda: state(0)["params"])}
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jnp.ones(1).sharding), like
    )
    np.testing.assert_array_equal(
        read_parts(run / "checkpoints", like)["params"]["fc1"]["kernel"],
        state(3)["params"]["fc1"]["kernel"],
    )
    cut_array(run / "checkpoints/3")
    before = sorted(run.rglob("*"))
    with pytest.raises(Exception, match=r"\S"):  # Orbax raises of any kind
        read_parts(run / "checkpoints", like)
    file = run / "checkpoints/3/digests/metadata"
    file.write_text(file.read_text().replace("params/fc1/bias", "params/fc2/bias"))
    with pytest.raises(ValueError, match="digests are not what was saved"):
        read_parts(run / "checkpoints", like)
    assert sorted(run.rglob("*")) == before


def test_a_checkpoint_from_before_there_were_digests_is_read(run):
    shutil.rmtree(run / "checkpoints/3/digests")
    found, _, said = restored(run)
    assert is_state(found, 3)
    assert not said


def test_a_full_disk_is_one_line_and_the_older_checkpoint_stays(run, monkeypatch):
    with Checkpoints(run / "checkpoints") as checkpoints:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(OSError, match=r"step 4 cannot be kept.*No space left.*from step 3"):
            checkpoints.save(4, state(4), positions(4))
    assert is_state(restored(run)[0], 3)


def test_the_first_checkpoint_is_read_back_at_once(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        reads = []
        read = checkpoints._read
        monkeypatch.setattr(
            checkpoints, "_read", lambda *arguments: reads.append(1) or read(*arguments)
        )
        checkpoints.save(1, state(1), positions(1))
        checkpoints.save(2, state(2), positions(2))
        assert reads == [1]

    with Checkpoints(tmp_path / "others") as checkpoints:

        def unreadable(*_):
            raise KeyError("no such file")

        monkeypatch.setattr(checkpoints, "_read", unreadable)
        with pytest.raises(OSError, match=r"cannot be kept in .*no such file"):
            checkpoints.save(1, state(1), positions(1))
