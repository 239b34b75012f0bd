"""The trials of a search and the retraining have the classes of all masks, those of test too."""

from pathlib import Path

import cv2
import pytest
from loguru import logger
from scenes import pairs, write

from conftest import FAST
from medseg.config import SearchConfig, make
from medseg.data.masks import MaskCoding
from medseg.errors import UserError
from medseg.runs import Run
from medseg.search import conduct
from medseg.search.search import search


@pytest.fixture
def data(tmp_path):
    """A set divided on disk, of which test alone holds class 2."""
    root = tmp_path / "set"
    for part, count in (("train", 6), ("validation", 3), ("test", 3)):
        pairs(root / part, count, lambda mask, index: mask, start=len(part))
    file = root / "test" / "masks" / "s01.png"
    mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    mask[:12, :24] = 2
    write(file, mask)
    return root


def options(data, tmp_path, **changes):
    (tmp_path / "space.yaml").write_text("hflip: [0, 0.5]\n")
    given = {"out": str(tmp_path / "study"), "space": str(tmp_path / "space.yaml"), "trials": 1}
    return FAST | {"data": str(data), "epochs": 1} | given | changes


def test_a_class_that_only_test_holds_is_one_of_every_trial(data, tmp_path):
    said = []
    handler = logger.add(said.append, format="{message}", level="INFO")
    try:
        result = search(make(SearchConfig, options(data, tmp_path)))
    finally:
        logger.remove(handler)
    assert result["completed"] == 1 and result["retrained"]["part"] == "test"
    runs = [Path(result["trials"][0]["run"]), tmp_path / "study" / "best"]
    assert [Run.open(run).checkpoint.classes for run in runs] == [3, 3]
    surveyed = next(i for i, line in enumerate(said) if line.startswith("masks: class indices"))
    assert "in 12 files" in said[surveyed] and surveyed < min(
        i for i, line in enumerate(said) if "trial" in line
    )


def test_masks_that_no_coding_fits_stop_the_search_before_its_first_trial(data, tmp_path):
    file = data / "test" / "masks" / "s00.png"
    write(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED) * 255)  # the others are 0/1
    with pytest.raises(UserError, match=r"s0\d\.png"):
        search(make(SearchConfig, options(data, tmp_path)))
    assert not (tmp_path / "study").exists()


def test_a_worker_that_reads_the_masks_in_another_way_is_refused(data, tmp_path, monkeypatch):
    search(make(SearchConfig, options(data, tmp_path, retrain=False)))
    real = conduct.survey_of

    def other(*arguments):
        return MaskCoding.from_dict(real(*arguments).to_dict() | {"text": "masks: otherwise"})

    monkeypatch.setattr(conduct, "survey_of", other)
    with pytest.raises(UserError, match="started with reading of mask files = 'masks: class"):
        search(make(SearchConfig, options(data, tmp_path, trials=2, retrain=False)))
