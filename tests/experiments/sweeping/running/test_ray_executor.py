import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from experiments.sweeping.running import ray_executor
from experiments.sweeping.running.ray_executor import RayExecutor
from experiments.sweeping.running.runner import SweepInterrupted


def test_without_ray_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(ray_executor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs Ray, which is not installed: pip install ray"):
        RayExecutor()


@pytest.fixture(scope="module")
def ray():
    """Says that Ray is there; how it is imported, and when, is the executor's business."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray, an optional extra, is not installed")


@pytest.fixture(scope="module")
def address(ray):
    """The address of a cluster of this machine, which runs apart from the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    flags = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    cluster = subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = []
    for line in cluster.stdout:
        output.append(line)
        if "Ray runtime started" in line:
            break
    else:
        pytest.fail("".join(output))
    threading.Thread(target=cluster.stdout.read).start()  # lest the pipe fills
    yield f"127.0.0.1:{port}"
    cluster.send_signal(signal.SIGTERM)
    cluster.wait()
    cluster.stdout.close()


def test_ray_on_this_machine_gives_the_results_that_subprocesses_give(ray, sweep):
    sweep.behave(seed1={"steps": 4, "failures": 1}, seed2={"failures": 9})
    records = sweep.run(count=3, executor=lambda: RayExecutor(parallel=2), max_attempts=2)
    assert [record.state for record in records] == ["done", "done", "failed"]
    assert [record.attempts for record in records] == [1, 2, 2]
    assert sweep.steps(1) == [1, 2, 3, 4]
    assert records[2].error.endswith("ValueError: the fake reason\n")
    assert not ray_executor._import_ray().is_initialized()


def test_a_lost_ray_worker_loses_no_work_and_doubles_none(address, sweep, wait_until):
    sweep.behave(all={"steps": 40, "seconds": 0.05})

    def kill_worker():
        wait_until(lambda: sweep.steps(0))
        trial = sweep.starts(0)[0][0]
        with open(f"/proc/{trial}/stat") as stat:
            worker = int(stat.read().rpartition(")")[2].split()[1])
        os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    records = sweep.run(count=2, executor=lambda: RayExecutor(address=address))
    killer.join()
    assert [record.state for record in records] == ["done", "done"]
    assert records[0].attempts == 2
    assert not sweep.overlaps()
    # The trial outlived its worker, and the second attempt waited for it.
    assert len(sweep.starts(0)) == 1
    assert sweep.steps(0) == list(range(1, 41))


def test_a_signal_stops_the_tasks_and_their_trials_save_their_state(address, sweep, wait_until):
    sweep.behave(all={"steps": 4000, "seconds": 0.05})  # longer than Ray may take to start

    def interrupt():
        wait_until(lambda: sweep.steps(0) and sweep.steps(1))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(SweepInterrupted):
        sweep.run(count=3, executor=lambda: RayExecutor(address=address))
    thread.join()
    assert [sweep.record(seed)["state"] for seed in range(3)] == ["pending"] * 3
    assert "stopped at" in sweep.read(0, "log.txt")
    assert "stopped at" in sweep.read(1, "log.txt")


def test_too_small_a_cluster_is_refused(address):
    with pytest.raises(ValueError, match="Ray has 2 CPUs and 0 GPUs in all, but a trial needs 3"):
        RayExecutor(address=address, cpus_per_trial=3)


def test_a_cluster_that_does_not_answer_is_an_error(ray):
    with pytest.raises(ValueError, match=r"--ray_address=127\.0\.0\.1:1: no Ray cluster answers"):
        RayExecutor(address="127.0.0.1:1")
