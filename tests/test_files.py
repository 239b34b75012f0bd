"""Files are replaced whole or not at all."""

import math
import resource
import signal
import subprocess
import sys

import pytest

from medseg.errors import UserError
from medseg.files import (
    folder_or_nothing,
    lock,
    new_folder,
    read_csv,
    write_atomic,
    write_csv,
    write_text,
)


def test_a_failure_while_writing_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "earlier")

    def half(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_atomic(path, half)
    assert path.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.fixture
def small_files_only():
    """The operating system refuses to write more than 64 KiB into a file, as it does on a full
    disk.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_a_user_error_and_the_earlier_file_survives(tmp_path, small_files_only):
    path = tmp_path / "a.bin"
    write_atomic(path, lambda file: file.write(b"x" * 1000))
    with pytest.raises(UserError, match="the earlier file is unharmed"):
        write_atomic(path, lambda file: file.write(b"y" * 100_000))
    assert path.read_bytes() == b"x" * 1000
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_while_saving_a_checkpoint_keeps_the_earlier_one(tmp_path, small_files_only):
    import torch

    from medseg.preprocessing import Preprocessing
    from medseg.runs import Checkpoint

    def save(size):
        weights = {"a": torch.zeros(size)}
        Checkpoint({}, weights, Preprocessing((64, 64)), 2, "binary-255", 1, 0.5, "dice", {}).save(
            path
        )

    path = tmp_path / "last.pt"
    save(10)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"last.pt.*cannot be written"):
        save(100_000)
    assert path.read_bytes() == before


def test_tables_keep_numbers_texts_and_gaps(tmp_path):
    path = tmp_path / "t.csv"
    write_csv(
        path,
        [
            {"name": 'a "b", c', "dice": 0.5, "n": 3},
            {"name": "x\ny", "dice": math.nan, "extra": None},
        ],
    )
    assert read_csv(path) == [{"name": 'a "b", c', "dice": 0.5, "n": 3.0}, {"name": "x\ny"}]
    assert read_csv(tmp_path / "none.csv") == []


def test_means_of_counts_keep_their_pixels(tmp_path):
    path, counts = (
        tmp_path / "a.csv",
        {"tp": 93968 + 1 / 3, "fp": 89707 + 2 / 3, "fn": 6.0, "tn": 1874558.0},
    )
    write_csv(path, [counts | {"dice": 2 / 3}])
    row = read_csv(path)[0]
    assert (
        sum(row[key] for key in counts) == pytest.approx(1920 * 1072, abs=0.001)
        and row["dice"] == 0.666667
    )


def test_an_output_folder_in_use_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    assert new_folder(tmp_path / "a", "--out", "choose another").is_dir()  # empty: fine
    (tmp_path / "a" / "thesis.txt").write_text("do not lose me")
    with pytest.raises(
        UserError, match="exists already and is not an empty folder; choose another"
    ):
        new_folder(tmp_path / "a", "--out", "choose another")
    with pytest.raises(UserError, match="cannot be made"):
        new_folder(tmp_path / "a" / "thesis.txt" / "b", "--out", "choose another")


def test_a_lock_is_held_against_another_process_and_freed_when_it_dies(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom medseg.files import lock\n"
        "with lock(Path(sys.argv[1]), 'in use'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="in use"), lock(tmp_path / ".lock", "in use"):
        pass
    other.kill()
    other.wait()
    with lock(tmp_path / ".lock", "in use"):
        pass


def test_a_folder_made_for_nothing_is_taken_back(tmp_path):
    new = tmp_path / "runs" / "search"
    with pytest.raises(ValueError), folder_or_nothing(new, "--out"):
        raise ValueError
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_was_there_or_holds_something_stays(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError), folder_or_nothing(tmp_path / "runs", "--out"):
        raise ValueError
    with pytest.raises(ValueError), folder_or_nothing(tmp_path / "runs" / "a", "--out"):
        (tmp_path / "runs" / "a" / "kept").touch()
        raise ValueError
    assert (tmp_path / "runs" / "a" / "kept").exists()
