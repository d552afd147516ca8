import shlex

from experiments.publishing.command import without_machine_paths


def test_no_path_of_a_machine_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [
        *("python", "-m", "experiments.train", "--config=configs/svhn.py:small"),
        f"--workdir={tmp_path}/runs/a b,seed=0",
        "--config.distillation.teacher=/elsewhere/sweeps/dense,seed=0",
        "--config.data.data_dir=/data/tfds",
        "--config.model.fc1.structure=2:16x16*64x32",
    ]
    assert shlex.split(without_machine_paths(shlex.join(command))) == [
        *command[:4],
        "--workdir=runs/a b,seed=0",
        "--config.distillation.teacher=runs/dense,seed=0",
        command[-1],
    ]


def test_a_path_behind_its_flag_is_one_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        without_machine_paths("python x.py --from /runs/dense") == "python x.py --from runs/dense"
    )
