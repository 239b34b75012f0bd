"""Results are compared where they are of the same images, not only of the same names."""

import shutil
from pathlib import Path

import cv2
import pytest
from scenes import pairs, write

import medseg
from conftest import FAST
from medseg.cli import main
from medseg.comparison.compare import compare
from medseg.comparison.results import read_results
from medseg.config import CompareConfig
from medseg.evaluation.rows import read_rows
from medseg.files import write_csv

OPTIONS = FAST | {"epochs": 1, "workers": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and its results on its test part."""
    folder = tmp_path_factory.mktemp("made")
    data = pairs(folder / "set", 20)
    run = medseg.train(**OPTIONS | {"data": str(data), "out": str(folder / "run")})["run"]
    return Path(run), data


@pytest.fixture
def both(made, tmp_path):
    """A function that evaluates the run on a copy of the data, changed, and compares the two."""
    run, data = made

    def results(change):
        copy = tmp_path / "copy"
        shutil.copytree(data, copy)
        for file in sorted(copy.glob("*/*.png")):
            change(file)
        given = {"accelerator": "cpu", "precision": "fp32", "progress": False, "split_part": "all"}
        medseg.evaluate(run, data=str(data), out=tmp_path / "first", **given)
        medseg.evaluate(
            run, data=str(copy), split="random-80-10-10", out=tmp_path / "second", **given
        )
        return tmp_path / "first", tmp_path / "second"

    return results


def notes(folders, tmp_path):
    return compare(CompareConfig(runs=folders, out=tmp_path / "out"))["notes"]


def flip(file):
    """Every mask upside down: other pixels, the same numbers of them."""
    if file.parent.name == "masks":
        write(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[::-1])


def test_other_masks_of_the_same_size_are_refused(both, capsys):
    assert main(["compare", *map(str, both(flip))]) == 2
    said = capsys.readouterr().err
    assert "against different masks of the same names: s" in said and "(20 in all)" in said


def test_other_images_are_named(both, tmp_path):
    def darken(file):
        if file.parent.name == "images" and file.stem in ("s03", "s11"):
            write(file, cv2.imread(str(file))[..., ::-1] // 2)

    (note,) = [each for each in notes(both(darken), tmp_path) if "other files" in each]
    assert note.startswith(
        "first and second: 2 images of the same names are other files (s03, s11)"
    )


def test_masks_stored_anew_are_the_same(both, tmp_path):
    def store_anew(file):
        if file.parent.name == "masks":  # 0 and 1, in another compression
            mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) // 255
            cv2.imwrite(str(file), mask, [cv2.IMWRITE_PNG_COMPRESSION, 0])

    assert not any("files" in each for each in notes(both(store_anew), tmp_path))


def test_predictions_against_masks_alone_are_compared_with_a_run(made, both, tmp_path):
    _, data = made
    first, _ = both(lambda file: None)
    assert main(["evaluate", str(data / "masks"), "--references", str(data / "masks"),
                 "--out", str(tmp_path / "maps")]) == 0  # fmt: skip
    rows = read_rows(tmp_path / "maps" / "per_image.csv")
    assert all(row["image_digest"] is None and row["mask_digest"] for row in rows)
    assert not any("files" in each for each in notes((first, tmp_path / "maps"), tmp_path))


def test_results_without_digests_are_compared_by_names_and_it_is_said(both, tmp_path):
    first, second = both(flip)
    rows = read_rows(second / "per_image.csv")
    write_csv(
        second / "per_image.csv",
        [{key: row[key] for key in row if "digest" not in key} for row in rows],
    )
    said = [each for each in notes((first, second), tmp_path) if "earlier medseg" in each]
    assert len(said) == 1 and said[0].startswith("second: evaluated by an earlier medseg")


def test_seeds_and_folds_keep_the_digests(made, tmp_path):
    _, data = made
    options = OPTIONS | {"data": str(data), "out": str(tmp_path / "seeds"), "seeds": [0, 1]}
    medseg.train(**options)
    whole, _ = read_results([tmp_path / "seeds", made[0]], "test")
    alone = read_rows(tmp_path / "seeds" / "seed-0" / "report" / "test" / "per_image.csv")
    for row in alone:
        for key in ("image_digest", "mask_digest"):
            assert whole.rows[row["name"]][key] == row[key] is not None
