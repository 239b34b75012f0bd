"""Several workers, as real processes.

With a database server, a kill in the middle of a trial, Ctrl-C, and a trial over two devices.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest
from postgres import server

from conftest import FAST
from medseg.files import read_csv
from medseg.search.study import open_storage, tally

QUIET = os.environ | {"CUDA_VISIBLE_DEVICES": ""}


def flags(dataset, tmp_path, **changes):
    (tmp_path / "space.yaml").write_text("lr: {low: 0.001, high: 0.1, log: true}\n")
    words = []
    given = (
        FAST
        | {"data": dataset, "space": tmp_path / "space.yaml", "retrain": False, "pruner": "none"}
        | changes
    )
    for key, value in given.items():
        words += (
            [f"--{'' if value else 'no-'}{key}".replace("_", "-")]
            if isinstance(value, bool)
            else [f"--{key.replace('_', '-')}", str(value)]
        )
    return words


def start(words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "medseg", "search", *words],
        env=QUIET | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(what, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("did not happen in time")


def trials_of(url, name="search"):
    storage = open_storage(url, 60)
    try:
        return optuna.load_study(study_name=name, storage=storage).get_trials()
    except KeyError:  # not made yet
        return []
    finally:  # a slow machine asks more often than PostgreSQL takes connections
        storage.engine.dispose()


@pytest.fixture
def postgresql():
    # not in tmp_path, which another user may not enter
    with (
        tempfile.TemporaryDirectory(prefix="medseg-postgresql-") as folder,
        server(Path(folder)) as url,
    ):
        yield url


@pytest.mark.slow
def test_three_workers_share_postgresql_and_one_is_killed_in_a_trial(dataset, tmp_path, postgresql):
    words = flags(dataset, tmp_path, trials=6, epochs=12, grace="10s")
    workers = [
        start([*words, "--out", str(tmp_path / f"w{i}")], MEDSEG_STORAGE=postgresql)
        for i in range(3)
    ]
    victim = workers[1]

    def in_a_trial():
        mark = f"-{victim.pid}-"
        return next(
            (
                trial
                for trial in trials_of(postgresql)
                if trial.state.name == "RUNNING"
                and trial.intermediate_values
                and mark in trial.user_attrs.get("worker", "")
            ),
            None,
        )

    lost = wait_for(in_a_trial)
    os.kill(victim.pid, signal.SIGKILL)
    said = [worker.communicate(timeout=150)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, -signal.SIGKILL, 0], said
    study = optuna.load_study(study_name="search", storage=open_storage(postgresql, 60))
    found, trials = tally(study), study.get_trials()
    assert (found.finished, found.completed, found.running) == (6, 6, 0)  # no more, no fewer
    assert trials[lost.number].state.name == "FAIL"
    again = [
        trial for trial in trials if lost.number in trial.system_attrs.get("retry_history", [])
    ]
    assert len(again) == 1 and again[0].params == lost.params and again[0].state.name == "COMPLETE"
    assert f"-{victim.pid}-" not in again[0].user_attrs["worker"]
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len({trial.params["lr"] for trial in done}) == 6  # no two workers proposed the same
    for i in (0, 2):
        result = json.loads((tmp_path / f"w{i}" / "search.json").read_text())
        assert (result["finished"], result["best"]["value"]) == (6, study.best_value)
    assert "medseg@127.0.0.1" in result["storage"]


@pytest.mark.slow
def test_workers_of_one_command_and_the_winner_is_retrained_once(dataset, tmp_path):
    worker = start(
        [
            *flags(dataset, tmp_path, trials=4, workers=2, retrain=True),
            "--out",
            str(tmp_path / "study"),
            "--json",
        ]
    )
    out, said = worker.communicate(timeout=150)
    assert worker.returncode == 0, said
    result = json.loads(out)
    assert (result["finished"], result["failed"]) == (4, 0)
    assert result["retrained"]["best"]["test"] is not None
    folders = len(
        list((tmp_path / "study" / "trials").iterdir())
    )  # a surplus trial may be freed before its training begins
    assert result["finished"] <= folders <= result["finished"] + result["tried_again_or_surplus"]


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_again(dataset, tmp_path):
    # epochs enough that the second trial is not over before the signal reaches it
    words = [*flags(dataset, tmp_path, trials=3, epochs=30), "--out", str(tmp_path / "study")]
    url = f"sqlite:///{tmp_path}/study/study.db"
    first = start(words)
    wait_for(lambda: (tmp_path / "study" / "study.db").exists())
    stopped = wait_for(
        lambda: next((t for t in trials_of(url) if t.number == 1 and t.intermediate_values), None)
    )
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 130 and "run the same command again to resume" in said, said
    second = start(words)
    said = second.communicate(timeout=120)[1]
    assert second.returncode == 0, said
    result = json.loads((tmp_path / "study" / "search.json").read_text())
    states = [row["state"] for row in result["trials"]]
    assert result["finished"] == 3 and states == ["completed", "freed", "completed", "completed"]
    assert (
        result["trials"][2]["params"]["lr"] == stopped.params["lr"]
    )  # tried again with its values


def alive(pid):
    """Whether a process runs still; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="no /proc here to look processes up in"
)
def test_sigterm_stops_the_workers_too(dataset, tmp_path):
    words = [
        *flags(dataset, tmp_path, trials=4, workers=2, epochs=400),
        "--out",
        str(tmp_path / "study"),
    ]
    url = f"sqlite:///{tmp_path}/study/study.db"
    command = start(words)
    wait_for(lambda: (tmp_path / "study" / "workers.pid").exists())
    wait_for(lambda: sum(bool(trial.intermediate_values) for trial in trials_of(url)) == 2)
    command.terminate()
    said = command.communicate(timeout=60)[1]
    assert command.returncode == 130 and "run the same command again to resume" in said, said
    assert not any(alive(pid) for pid in (tmp_path / "study" / "workers.pid").read_text().split())
    states = [trial.state.name for trial in trials_of(url)]
    assert (states.count("RUNNING"), states.count("WAITING")) == (
        0,
        2,
    )  # both are there to be tried again


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="no /proc here to look processes up in"
)
def test_the_processes_of_a_trial_end_with_their_worker(dataset, tmp_path):
    worker = start(
        [
            *flags(dataset, tmp_path, trials=1, devices=2, epochs=2000),
            "--out",
            str(tmp_path / "study"),
        ]
    )
    url = f"sqlite:///{tmp_path}/study/study.db"
    wait_for(lambda: (tmp_path / "study" / "study.db").exists())
    wait_for(lambda: any(trial.intermediate_values for trial in trials_of(url)))

    def ranks():
        """By the request that all of them were given."""
        mark = f"MEDSEG_TRIAL={tmp_path}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if (
                    folder.name.isdigit()
                    and mark in (folder / "environ").read_bytes()
                    and alive(folder.name)
                ):
                    found.append(folder.name)
            except OSError:
                pass
        return found

    assert len(ranks()) == 2
    worker.kill()
    worker.communicate()
    wait_for(lambda: not ranks(), 60)


@pytest.mark.slow
def test_a_trial_over_two_devices_and_both_agree_to_stop(dataset, tmp_path):
    """Earlier trials, perfect from the start, make the pruner give up.

    No process is left waiting for the other.
    """
    (tmp_path / "study").mkdir()
    url = f"sqlite:///{tmp_path}/study/study.db"
    study = optuna.create_study(study_name="search", storage=url, direction="maximize")
    lr = optuna.distributions.FloatDistribution(0.001, 0.1, log=True)
    study.add_trial(
        optuna.create_trial(
            value=1.0,
            params={"lr": 0.01},
            distributions={"lr": lr},
            intermediate_values={1: -1.0, 2: 1.0, 3: 1.0, 4: 1.0},
        )
    )
    worker = start(
        [
            *flags(dataset, tmp_path, trials=2, epochs=4, devices=2, pruner="median", startup=1),
            "--out",
            str(tmp_path / "study"),
        ]
    )
    said = worker.communicate(timeout=150)[1]
    assert worker.returncode == 0, said
    result = json.loads((tmp_path / "study" / "search.json").read_text())
    assert (result["completed"], result["pruned"], result["failed"]) == (1, 1, 0)
    history = read_csv(tmp_path / "study" / "trials" / "0001" / "metrics.csv")
    assert [row["epoch"] for row in history] == [
        1,
        2,
    ]  # the first epoch was better than before, the second was not
    reported = study.get_trials()[1].intermediate_values
    assert list(reported.values()) == pytest.approx([row["val_dice"] for row in history], abs=1e-5)


def test_without_optuna_the_command_says_what_to_install(tmp_path):
    (tmp_path / "optuna.py").write_text("raise ImportError('not here')\n")
    environment = QUIET | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    }
    assert (
        subprocess.run(
            [sys.executable, "-c", "import medseg, medseg.cli"], env=environment, check=False
        ).returncode
        == 0
    )
    done = subprocess.run(
        [sys.executable, "-m", "medseg", "search", "--data", "x"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode == 2
        and done.stderr == "medseg: medseg search needs Optuna: pip install 'medseg[search]'\n"
    )
