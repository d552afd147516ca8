import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from experiments import data
from experiments.data.sets.character_sets import centred
from experiments.data.tfds import prepare
from tests.experiments.data.sets.gnt_files import gnt_sample

VARIANT = "casia_hwdb/16-3"  # 啊, 阿 and 埃


@pytest.fixture
def manual(tmp_path):
    folder = tmp_path / "downloads" / "manual"
    folder.mkdir(parents=True)
    return folder


def handwriting(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((int(rng.integers(20, 40)), int(rng.integers(20, 40))), 255, np.uint8)
    image[3:-5, 4:-6] = rng.integers(0, 256, image[3:-5, 4:-6].shape)
    return image


def gnt_file(characters: str, seed: int) -> bytes:
    return b"".join(gnt_sample(c, handwriting(seed + i)) for i, c in enumerate(characters))


def put_official_files(manual):
    """Training files in folders, two in all; test files in a zip, with a folder in it."""
    for name, characters, seed in (
        ("HWDB1.1trn_gnt/1001-c.gnt", "啊阿埃挨A", 0),
        ("Gnt1.0TrainPart1/001-f.gnt", "埃啊", 50),
    ):
        path = manual / name
        path.parent.mkdir()
        path.write_bytes(gnt_file(characters, seed))
    with zipfile.ZipFile(manual / "Gnt1.1Test.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("files/1241-c.gnt", gnt_file("阿的啊", 100))
        archive.writestr("readme.txt", "not a sample")


def examples(part):
    return sorted((image.tobytes(), int(label)) for image, label in zip(*part, strict=True))


def expected(samples):
    images = np.array([centred(handwriting(seed), 16) for seed, _ in samples])
    return images, [label for _, label in samples]


def test_official_files_are_read_with_their_split_and_the_chosen_classes(manual, tmp_path):
    put_official_files(manual)
    loaded = data.load(VARIANT, str(tmp_path))
    assert (loaded.name, loaded.num_classes) == (VARIANT, 3)
    train = expected([(0, 0), (1, 1), (2, 2), (50, 2), (51, 0)])  # 挨 and A are left out
    test = expected([(100, 1), (102, 0)])
    assert examples((loaded.train.images, loaded.train.labels)) == examples(train)
    assert examples((loaded.test.images, loaded.test.labels)) == examples(test)

    for path in manual.iterdir():  # what is prepared needs no files
        path.rename(tmp_path / path.name)
    assert len(data.load(VARIANT, str(tmp_path)).train) == 5


def refusal(tmp_path) -> str:
    with pytest.raises(FileNotFoundError, match="is not prepared") as raised:
        data.load(VARIANT, str(tmp_path))
    assert not list((tmp_path / "casia_hwdb").rglob("*.json"))
    return str(raised.value)


def test_without_files_the_error_says_where_to_put_them(tmp_path):
    message = refusal(tmp_path)
    assert str(tmp_path / "downloads" / "manual") in message
    assert "the .gnt files of CASIA-HWDB 1.0 or 1.1, or the zips" in message
    assert "--config.data.name=kanji_strokes" in message


@pytest.mark.parametrize("keep", [-1, 23], ids=["pixels", "header"])
def test_a_file_that_is_cut_off_is_named_with_the_byte(manual, tmp_path, keep):
    put_official_files(manual)
    path = manual / "HWDB1.1trn_gnt" / "1001-c.gnt"
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(tmp_path)
    assert f"{path} ends after" in message
    assert "at byte" in message


def test_a_damaged_file_inside_a_zip_is_named_with_zip_and_byte(manual, tmp_path):
    put_official_files(manual)
    with zipfile.ZipFile(manual / "Gnt1.1Test.zip", "w") as archive:
        archive.writestr("files/1241-c.gnt", b"\7" * 40)
    assert f"{manual}/Gnt1.1Test.zip/files/1241-c.gnt has a sample of" in refusal(tmp_path)


def test_a_zip_that_is_cut_off_is_named(manual, tmp_path):
    put_official_files(manual)
    path = manual / "Gnt1.1Test.zip"
    path.write_bytes(path.read_bytes()[:-30])
    assert f"{path} is cut off or damaged" in refusal(tmp_path)


def test_a_file_of_no_split_and_a_missing_split_are_refused(manual, tmp_path):
    (manual / "1001-c.gnt").write_bytes(gnt_file("啊", 0))
    assert f"{manual / '1001-c.gnt'} does not tell whether it is of the training" in refusal(
        tmp_path
    )
    (manual / "1001-c.gnt").rename(manual / "train-1001-c.gnt")
    assert "no .gnt file, and no zip with one, of the test set" in refusal(tmp_path)


def test_a_file_that_is_there_twice_is_refused(manual, tmp_path):
    put_official_files(manual)
    with zipfile.ZipFile(manual / "HWDB1.1trn_gnt.zip", "w") as archive:
        archive.writestr("1001-c.gnt", gnt_file("啊", 0))
    assert "are the same file twice" in refusal(tmp_path)


def test_runs_that_start_together_prepare_it_once(manual, tmp_path, monkeypatch):
    put_official_files(manual)
    calls = []
    original = prepare.prepare

    def counted(builder, alternative=None):
        calls.append(builder.name)
        time.sleep(0.3)  # the other comes in the meantime
        original(builder, alternative)

    monkeypatch.setattr(prepare, "prepare", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: data.load(VARIANT, str(tmp_path)), range(2))
    assert calls == ["casia_hwdb"]
    assert len(first.train.labels) == len(second.train.labels) == 5
