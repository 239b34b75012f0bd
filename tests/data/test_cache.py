"""Decoded once, found again by content, and never half-made."""

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from conftest import write_part
from medseg.data import cache
from medseg.data.batches import TrainBatches, evaluation_batches
from medseg.data.cache import open_store, read_pair
from medseg.data.masks import survey
from medseg.data.randomness import order
from medseg.data.sources.folder import open_dataset
from medseg.errors import UserError
from medseg.preprocessing import Preprocessing

FORM = Preprocessing((32, 40))


@pytest.fixture
def items(tmp_path):
    write_part(tmp_path / "set" / "train", 7)
    write_part(tmp_path / "set" / "validation", 2, 50)
    return list(open_dataset(tmp_path / "set").parts["train"])


@pytest.fixture
def coding(items):
    return survey(items)


def test_a_store_holds_what_decoding_gives(items, coding, tmp_path):
    store = open_store(items, coding, FORM, folder=tmp_path / "cache")
    native = open_store(items, coding, FORM, native_masks=True, folder=tmp_path / "cache")
    for i, item in enumerate(items):
        image, mask = read_pair(item, coding, FORM)
        np.testing.assert_array_equal(store.image(i), FORM.fit(image))
        np.testing.assert_array_equal(store.mask(i), FORM.fit_mask(mask))
        np.testing.assert_array_equal(native.mask(i), mask)
        assert native.native[i] == image.shape[:2]
    part = native.subset([5, 2])
    np.testing.assert_array_equal(part.mask(0), native.mask(5))
    assert part.names == [items[5].name, items[2].name] and len(part) == 2


def test_a_warm_cache_decodes_nothing_and_moves_with_the_data(items, coding, tmp_path, monkeypatch):
    open_store(items, coding, FORM, folder=tmp_path / "cache")
    os.rename(tmp_path / "set", tmp_path / "elsewhere")
    moved = [
        replace(
            item,
            image=tmp_path / "elsewhere" / item.image.relative_to(tmp_path / "set"),
            masks=(tmp_path / "elsewhere" / item.mask.relative_to(tmp_path / "set"),),
        )
        for item in items
    ]
    monkeypatch.setattr(cache, "read_image", lambda *_, **__: pytest.fail("decoded again"))
    assert len(open_store(moved, coding, FORM, folder=tmp_path / "cache")) == 7


def test_a_changed_file_or_form_makes_a_new_entry(items, coding, tmp_path):
    def entries():
        return sum(path.is_dir() for path in (tmp_path / "cache").iterdir())

    open_store(items, coding, FORM, folder=tmp_path / "cache")
    open_store(items, coding, replace(FORM, size=(48, 48)), folder=tmp_path / "cache")
    assert entries() == 2
    cv2.imwrite(str(items[3].image), 255 - cv2.imread(str(items[3].image)))
    store = open_store(items, coding, FORM, folder=tmp_path / "cache")
    assert entries() == 3
    assert store.image(3).mean() > 100  # the new content, not the old


def test_a_failure_leaves_no_half_made_entry(items, coding, tmp_path):
    items[4].image.write_bytes(b"")
    with pytest.raises(UserError, match=items[4].image.name):
        open_store(items, coding, FORM, folder=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_a_cache_folder_that_cannot_be_used_is_a_user_error(items, coding, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="--cache-dir"):
        open_store(items, coding, FORM, folder=tmp_path / "file")


def test_a_set_that_does_not_fit_on_the_disk_is_refused_before_decoding(
    items, coding, tmp_path, monkeypatch
):
    needed = len(items) * 32 * 40 * 4
    for free, fits in ((needed - 1, False), (needed, True)):
        monkeypatch.setattr(
            "medseg.data.cache.shutil.disk_usage",
            lambda folder, free=free: SimpleNamespace(free=free),
        )
        if fits:
            assert len(open_store(items, coding, FORM, folder=tmp_path / "cache")) == len(items)
        else:
            with pytest.raises(UserError, match=r"0.0 GiB are free; make room there"):
                open_store(items, coding, FORM, folder=tmp_path / "cache")
            assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_processes_that_ask_at_once_share_one_entry(tmp_path):
    write_part(tmp_path / "set" / "train", 20)
    write_part(tmp_path / "set" / "validation", 2, 50)
    code = """
import sys
from pathlib import Path
from medseg.data.cache import open_store
from medseg.data.masks import survey
from medseg.data.sources.folder import open_dataset
from medseg.preprocessing import Preprocessing
root = Path(sys.argv[1])
items = open_dataset(root / "set").parts["train"]
store = open_store(items, survey(items), Preprocessing((32, 32)), folder=root / "cache")
print(int(store.arrays()[0].sum()))
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
    assert sum(path.is_dir() for path in (tmp_path / "cache").iterdir()) == 1


def test_the_processes_shares_make_up_the_global_batch(items, coding, tmp_path):
    store = open_store(items, coding, FORM, folder=tmp_path / "cache")
    device = torch.device("cpu")
    whole = TrainBatches(store, batch_size=4, seed=3, device=device)
    shares = [
        TrainBatches(store, batch_size=4, seed=3, device=device, rank=rank, world=2)
        for rank in (0, 1)
    ]
    for epoch in range(3):
        for batch, one, two in zip(
            whole.epoch(epoch), *(share.epoch(epoch) for share in shares), strict=True
        ):
            assert batch.names == one.names + two.names
            assert torch.equal(batch.image, torch.cat([one.image, two.image]))
    seen = {name for epoch in range(12) for batch in whole.epoch(epoch) for name in batch.names}
    assert seen == set(store.names)  # what one epoch leaves over comes in another


def test_an_epoch_resumes_at_any_step(items, coding, tmp_path):
    batches = TrainBatches(
        open_store(items, coding, FORM, folder=tmp_path / "cache"),
        batch_size=2,
        seed=0,
        device=torch.device("cpu"),
    )
    names = [batch.names for batch in batches.epoch(5)]
    assert [batch.names for batch in batches.epoch(5, start=2)] == names[2:]


def test_an_epoch_is_sorted_once_and_not_in_each_step(items, coding, tmp_path, monkeypatch):
    sorts = []
    monkeypatch.setattr(
        "medseg.data.batches.order", lambda *given: sorts.append(given) or order(*given)
    )
    batches = TrainBatches(
        open_store(items, coding, FORM, folder=tmp_path / "cache"),
        batch_size=2,
        seed=0,
        device=torch.device("cpu"),
    )
    assert len(list(batches.epoch(0))) == 3 and len(sorts) == 1


@pytest.mark.parametrize("resize", ["square", "native-crop"])
def test_evaluation_sees_each_image_once_for_any_number_of_processes(
    items, coding, tmp_path, resize
):
    store = open_store(
        items, coding, Preprocessing((32, 40), resize), native_masks=True, folder=tmp_path / "cache"
    )
    for world in (1, 2, 3, 5):
        seen = [
            i
            for rank in range(world)
            for index, image in evaluation_batches(
                store, batch_size=2, device=torch.device("cpu"), rank=rank, world=world
            )
            for i in index
        ]
        assert sorted(seen) == list(range(7))


def test_native_crops_are_windows_of_the_image_padded_with_ignored_pixels(items, coding, tmp_path):
    store = open_store(
        items, coding, Preprocessing((32, 32), "native-crop"), folder=tmp_path / "cache"
    )
    batches = TrainBatches(
        store, batch_size=7, seed=0, device=torch.device("cpu"), window=(60, 200)
    )
    batch = next(batches.epoch(0))
    assert batch.image.shape == (7, 60, 200, 3)
    for image, mask, i in zip(batch.image, batch.mask, batch.index, strict=True):
        inside = mask != 255
        height, width = store.shapes[i]
        assert int(inside.sum()) == min(height, 60) * min(width, 200)
        assert not image[~inside].any()
        assert int((mask == 1).sum()) <= int((store.mask(i) == 1).sum())
