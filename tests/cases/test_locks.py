"""Locks where there are none, and a cache that several users share."""

import errno
import fcntl
import os
import stat

import numpy as np
import pytest
from scenes import pairs

from medseg import files
from medseg.cli import main
from medseg.data.cache import open_store
from medseg.data.masks import survey
from medseg.data.sources.folder import open_dataset
from medseg.errors import UserError
from medseg.files import lock
from medseg.preprocessing import Preprocessing

NO_LOCKS = ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EIO", "EPERM", "EBADF", "ENOTTY")


@pytest.fixture
def flock_fails(monkeypatch):
    """A function that makes every flock fail with an error."""
    monkeypatch.setattr(files, "_UNLOCKED", set())

    def fail(code):
        def flock(file, kind):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", flock)

    return fail


@pytest.mark.parametrize("name", NO_LOCKS)
@pytest.mark.parametrize("options", [{}, {"wait": True}, {"shared": True}])
def test_a_file_system_without_locks_works(name, options, tmp_path, flock_fails):
    flock_fails(getattr(errno, name))
    with lock(tmp_path / ".lock", "in use", **options):
        pass


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_a_lock_that_is_taken(code, tmp_path, flock_fails):
    flock_fails(code)
    with pytest.raises(UserError, match=r"^in use$"), lock(tmp_path / ".lock", "in use"):
        pass
    with pytest.raises(UserError, match="locked by another"), lock(tmp_path / "l", "", wait=True):
        pass


def test_training_without_locks_says_so_once(tmp_path, flock_fails, capsys):
    flock_fails(errno.ENOLCK)
    data = pairs(tmp_path / "set", 6)
    tiny = "--model unet --base-channels 4 --size 32 --epochs 1 --threads 1 --no-tensorboard"
    options = ["--data", str(data), *tiny.split(), "--cache-dir", str(tmp_path / "cache")]
    assert main(["train", *options, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err.count("has no locks (No locks available)") == 1


def store_of(tmp_path, folder="cache"):
    items = [item for part in open_dataset(tmp_path / "set").parts.values() for item in part]
    form = Preprocessing((32, 32), channels=3)
    return open_store(items, survey(items), form, folder=tmp_path / folder)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_cache_entries_follow_the_umask(mask, tmp_path):
    pairs(tmp_path / "set", 4)
    before = os.umask(mask)
    try:
        store_of(tmp_path)
    finally:
        os.umask(before)
    for path in (tmp_path / "cache").rglob("*"):
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~mask, path


def test_the_entry_of_another_user_is_read(tmp_path, monkeypatch):
    pairs(tmp_path / "set", 4)
    expected = [store_of(tmp_path).image(i).copy() for i in range(4)]

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(os, "replace", refuse)  # nothing is made
    monkeypatch.setattr("medseg.data.cache.lock", refuse)  # nor can the lock be opened
    found = store_of(tmp_path)
    assert all(np.array_equal(found.image(i), expected[i]) for i in range(4))


def test_whoever_was_faster_without_locks_has_made_the_entry(tmp_path, monkeypatch):
    pairs(tmp_path / "set", 4)
    store_of(tmp_path, "other")
    replace = os.replace

    def late(source, target):  # somebody else renames first
        (tmp_path / "other" / target.name).rename(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    assert len(store_of(tmp_path)) == 4
    assert not list((tmp_path / "cache").glob(".building-*"))
