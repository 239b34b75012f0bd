"""A run goes by the images that it was made with: their names, their bytes, wherever they lie."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from scenes import pairs, scene, write

import medseg
from conftest import FAST
from medseg.cli import main
from medseg.data.remembered import recall
from medseg.data.sealed import sealed
from medseg.data.sources.folder import open_dataset
from medseg.errors import UserError
from medseg.files import read_csv
from medseg.runs import Run

OPTIONS = FAST | {"epochs": 1, "workers": 1}


@pytest.fixture
def data(tmp_path):
    return pairs(tmp_path / "set", 20)


@pytest.fixture
def run(data, tmp_path):
    return Path(medseg.train(**OPTIONS | {"data": str(data), "out": str(tmp_path / "run")})["run"])


def evaluate(run, **options):
    return medseg.evaluate(run, accelerator="cpu", precision="fp32", progress=False, **options)


def names(run, part):
    return (run / "splits" / f"{part}.txt").read_text().split()


def evaluated(run, tmp_path, **options):
    """The summary and the names of the images."""
    out = tmp_path / "results"
    summary = evaluate(run, out=out, overwrite=True, **options)
    return summary, [row["name"] for row in read_csv(out / "per_image.csv")]


def invert(root, *stems):
    for stem in stems:
        file = root / "masks" / f"{stem}.png"
        write(file, 255 - cv2.imread(str(file), cv2.IMREAD_UNCHANGED))


def remove(root, stem):
    for kind in ("images", "masks"):
        (root / kind / f"{stem}.png").unlink()


def add(root, stem, seed=998):
    image, mask = scene(seed)
    write(root / "images" / f"{stem}.png", image)
    write(root / "masks" / f"{stem}.png", mask * 255)


def test_the_folder_holds_a_digest_of_each_file(run, data):
    remembered = recall(run)
    assert {part: len(each) for part, each in remembered.parts.items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }
    assert remembered.digests.keys() == set(remembered.names("train", "validation", "test"))
    assert len({each for pair in remembered.digests.values() for each in pair}) == 40
    header = (run / "splits" / "digests.csv").read_text().splitlines()[0]
    assert header == "part,name,image,mask"
    again = open_dataset(data, split=str(run / "splits"))  # its lists are a split
    assert [item.name for item in again.parts["test"]] == names(run, "test")


def test_an_image_added_later_changes_no_part(run, data, tmp_path, capsys):
    """Case 18: the default split of one image more would be another."""
    before = evaluate(run)
    add(data, "a00")
    summary, found = evaluated(run, tmp_path)
    assert found == names(run, "test") and summary["protocols"] == before["protocols"]
    note = "set: left out, because they are in none of the run's lists: a00 (1 in all)"
    assert note in summary["notes"]
    assert summary["split"] == before["split"] == "random-80-10-10-seed0"
    assert main(["calibrate", str(run), "--accelerator", "cpu", "--no-progress"]) == 0
    assert note in capsys.readouterr().err
    assert json.loads((run / "calibration.json").read_text())["images"] == 2
    medseg.train(resume=str(run), epochs=2)
    assert recall(run).digests.keys() == set(recall(run).names("train", "validation", "test"))
    assert "a00" not in recall(run).digests


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_part_does_not_shrink_in_silence(run, data, part):
    gone = names(run, part)[0]
    remove(data, gone)
    with pytest.raises(UserError, match=rf"1 of its {part} images are not in set .*: {gone};"):
        evaluate(run, split_part=part)
    other = {"test": "validation", "validation": "test"}[part]
    assert evaluate(run, split_part=other)["n_images"] == 2


def test_changed_files_are_named(run, data):
    mask, image = names(run, "test")
    invert(data, mask)
    file = data / "images" / f"{image}.png"
    write(file, 255 - cv2.imread(str(file))[..., ::-1])
    (note,) = evaluate(run)["notes"]
    assert note.endswith(f": 1 image ({image}) and the masks of 1 image ({mask})")


def test_a_relative_place_is_found_from_elsewhere(data, tmp_path, monkeypatch, capsys):
    """Case 19."""
    monkeypatch.chdir(tmp_path)
    medseg.train(**OPTIONS | {"data": "set", "out": "run"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert evaluate("../run")["n_images"] == 2
    medseg.train(resume="../run", epochs=2)
    config = str(tmp_path / "run" / "config.yaml")
    arguments = ["train", "--config", config, "--out", "again", "--epochs", "1"]
    assert main(arguments) == 0
    data.rename(tmp_path / "moved")
    capsys.readouterr()
    assert main(["evaluate", "../run"]) == 2
    assert f"was trained on {tmp_path / 'set'}, which is not there now" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"was trained on .*/set, which is not there now; give"):
        medseg.train(resume="../run", epochs=3)
    medseg.train(resume="../run", epochs=3, data="../moved")
    assert evaluate("../run")["n_images"] == 2  # the run knows the new place


def test_masks_edited_between_stop_and_resume_are_refused(run, data):
    """Case 20."""
    edited = names(run, "train")[:3]
    invert(data, *edited)
    with pytest.raises(UserError, match=r"the masks of 3 images \(s.*\) are not what they were"):
        medseg.train(resume=str(run), epochs=2)
    invert(data, *edited)
    for kind in ("images", "masks"):
        (data / kind / f"{edited[0]}.png").rename(data / kind / "renamed.png")
    with pytest.raises(UserError, match=f"1 of its images are not in set any more: {edited[0]}"):
        medseg.train(resume=str(run), epochs=2)


def test_moved_data_are_the_runs_own(run, data, tmp_path):
    before = evaluate(run)
    moved = data.rename(tmp_path / "new place")
    summary, found = evaluated(run, tmp_path, data=str(moved))
    assert found == names(run, "test") and summary["protocols"] == before["protocols"]
    assert summary["stamp"] == before["stamp"]
    assert main(["calibrate", str(run), "--data", str(moved), "--accelerator", "cpu"]) == 0
    stranger = pairs(tmp_path / "stranger", 20, start=300)  # the same names
    assert main(["calibrate", str(run), "--data", str(stranger)]) == 2
    with pytest.raises(UserError, match=r"20 images|16 images|18 images"):
        medseg.train(resume=str(run), data=str(stranger), epochs=2)


def test_a_copy_that_lacks_an_image_is_no_other_set(run, data, tmp_path):
    gone, kept = names(run, "test")
    remove(data, gone)
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"1 of its test images are not in moved .*: {gone}"):
        evaluate(run, data=str(moved))
    add(moved, gone, seed=0)  # now all names are there
    for stem in {path.stem for path in (moved / "images").iterdir()} - {gone, kept}:
        remove(moved, stem)
    with pytest.raises(UserError, match=r"cannot make 3 parts"):  # half of it: another set
        evaluate(run, data=str(moved))


def test_the_test_part_alone_is_enough(run, data, tmp_path):
    before = evaluate(run)
    for stem in names(run, "train") + names(run, "validation"):
        remove(data, stem)
    moved = data.rename(tmp_path / "moved")
    summary = evaluate(run, data=str(moved))
    assert summary["protocols"] == before["protocols"] and summary["stamp"] == before["stamp"]


def test_another_set_of_the_same_names_is_another(run, tmp_path):
    stranger = pairs(tmp_path / "stranger", 20, start=300)
    stamp = evaluate(run, data=str(stranger), split_part="all")["stamp"]
    assert stamp["verdict"] == "other" and "byte for byte" in stamp["text"]


def test_data_stored_anew_are_not_called_free_of_leaks(run, data, tmp_path):
    """With one image more the default split is another; no byte says that the set is the same."""
    moved = data.rename(tmp_path / "moved")
    for file in moved.glob("*/*.png"):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(file), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    add(moved, "a00")
    stamp = evaluate(run, data=str(moved))["stamp"]
    assert stamp["verdict"] == "other"
    assert "2 of 2 have the names of such images: s" in stamp["text"]
    stranger = pairs(tmp_path / "stranger", 6, start=300, names=[f"z{i}" for i in range(6)])
    stamp = evaluate(run, data=str(stranger), split_part="all")["stamp"]
    assert "names of such images" not in stamp["text"]


def test_a_renamed_copy_of_a_training_image_is_known(run, data, tmp_path):
    stranger = pairs(tmp_path / "stranger", 6, start=300, names=[f"z{i}" for i in range(6)])
    seen = names(run, "train")[0]
    for kind in ("images", "masks"):
        shutil.copy(data / kind / f"{seen}.png", stranger / kind / "z7.png")
    stamp = evaluate(run, data=str(stranger), split_part="all")["stamp"]
    assert stamp["verdict"] == "seen" and "1 of 7 images are, byte for byte" in stamp["text"]
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "test.txt").write_text("z1\nz7\n")
    stamp = evaluate(run, data=str(stranger), split=str(lists))["stamp"]
    assert stamp["verdict"] == "LEAKY" and stamp["text"].endswith("z7")


def test_a_copy_in_two_parts_of_one_set_is_a_leak(tmp_path):
    for part, start, count in (("train", 0, 6), ("validation", 50, 3), ("test", 100, 3)):
        pairs(tmp_path / "set" / part, count, start=start, names=[f"{part}{i}" for i in range(9)])
    image = tmp_path / "set" / "train" / "images" / "train0.png"
    shutil.copy(image, tmp_path / "set" / "test" / "images" / "test1.png")
    options = OPTIONS | {"data": str(tmp_path / "set"), "out": str(tmp_path / "run")}
    stamp = medseg.train(**options)["summaries"]["test"]["stamp"]
    assert stamp["verdict"] == "LEAKY"
    assert "1 of 3 test images are, byte for byte, images of train or validation" in stamp["text"]


def test_another_split_is_held_against_the_runs_lists(run, data, tmp_path):
    stamp = evaluate(run, split="random-80-10-10-seed5")["stamp"]
    assert stamp["verdict"] == "LEAKY"
    moved = data.rename(tmp_path / "moved")
    for kind in ("images", "masks"):  # under other names
        for file in list((moved / kind).iterdir()):
            file.rename(file.with_stem(f"new-{file.stem}"))
    stamp = evaluate(run, data=str(moved), split_part="train", split="random-80-10-10-seed5")
    assert stamp["stamp"]["verdict"] == "seen"


def test_a_run_without_digests_goes_by_names(run, data):
    (run / "splits" / "digests.csv").unlink()
    add(data, "a00")
    assert evaluate(run, data=str(data))["n_images"] == 2
    invert(data, names(run, "test")[0])
    assert not any("changed" in note for note in evaluate(run)["notes"])
    medseg.train(resume=str(run), epochs=2)
    assert recall(run).digests


def test_a_damaged_list_of_digests_is_one_line(run):
    (run / "splits" / "digests.csv").write_text("part,name\ntest,s00\n")
    with pytest.raises(UserError, match=r"digests\.csv: cannot be read"):
        evaluate(run)


def test_names_that_mean_something_in_a_list_or_table(tmp_path):
    odd = ["#1", "a,b", 'say "x"', "slide.tif", "[red]", " lead", "001", "1e5", "ü", "x;y"]
    data = pairs(tmp_path / "set", len(odd), names=odd)
    run = medseg.train(**OPTIONS | {"data": str(data), "out": str(tmp_path / "run")})["run"]
    remembered = recall(Path(run))
    assert sorted(remembered.names("train", "validation", "test")) == sorted(odd)
    assert remembered.digests.keys() == set(odd)
    for part in ("train", "validation", "test"):
        assert not any("changed" in note for note in evaluate(run, split_part=part)["notes"])


def test_groups_are_remembered(data, tmp_path):
    (data / "groups.csv").write_text(
        "name,group\n" + "".join(f"s{i:02d},p{i // 2}\n" for i in range(20))
    )
    run = medseg.train(**OPTIONS | {"data": str(data), "out": str(tmp_path / "run")})["run"]
    before = evaluate(run)["stamp"]
    (data / "groups.csv").unlink()
    assert evaluate(run)["stamp"] == before and before["verdict"] in ("LEAKY", "grouped")


def test_a_data_set_divided_on_disk(tmp_path):
    for part, start in (("train", 0), ("validation", 50), ("test", 100)):
        pairs(tmp_path / "set" / part, 4, start=start)  # the same names in each
    options = OPTIONS | {"data": str(tmp_path / "set"), "out": str(tmp_path / "run")}
    run = medseg.train(**options)["run"]
    assert evaluate(run)["n_images"] == 4
    moved = (tmp_path / "set").rename(tmp_path / "moved")
    remove(moved / "test", "s02")
    with pytest.raises(UserError, match=r"1 of its test images are not in moved .*: test/s02"):
        evaluate(run, data=str(moved))
    assert evaluate(run, data=str(moved), split_part="validation")["n_images"] == 4


def test_training_reads_the_test_part_only_after_it(data, tmp_path):
    dataset = open_dataset(data)
    images = [replace(item, masks=()) for item in dataset.parts["test"]]  # classes are no secret
    with sealed(images), pytest.raises(UserError, match="is a test image"):
        medseg.train(**OPTIONS | {"data": str(data), "out": str(tmp_path / "run")})
    remembered = recall(tmp_path / "run")
    assert len(remembered.parts["test"]) == 2
    assert remembered.digests.keys() == set(remembered.names("train", "validation"))
    assert evaluate(tmp_path / "run")["n_images"] == 2  # what is complete is not lost


def test_one_more_seed_has_the_images_of_the_first(data, tmp_path, monkeypatch):
    from medseg.errors import Interrupted
    from medseg.training import repeat

    real_train, started = repeat.single.train, []

    def stopped_at_the_second(config, **options):
        started.append(config)
        if len(started) == 2:
            raise Interrupted("x")
        return real_train(config, **options)

    monkeypatch.setattr(repeat.single, "train", stopped_at_the_second)
    options = OPTIONS | {"data": str(data), "out": str(tmp_path / "run"), "seeds": [0, 1]}
    with pytest.raises(Interrupted):
        medseg.train(**options)
    add(data, "a00")
    monkeypatch.setattr(repeat.single, "train", real_train)
    summary = medseg.train(resume=str(tmp_path / "run"))["summaries"]["test"]
    lists = [Run.open(tmp_path / "run" / f"seed-{seed}").remembered().parts for seed in (0, 1)]
    assert lists[0] == lists[1] and summary["n_images"] == 2


def test_compare_says_where_evaluate_wrote(run, capsys):
    shutil.rmtree(run / "report" / "test")
    evaluate(run)
    assert main(["compare", str(run), str(run / "report" / "validation")]) == 2
    assert "give one of the folders that medseg evaluate wrote" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["init", "teacher"])
def test_what_the_weights_come_from_has_been_seen(run, data, tmp_path, option):
    """By another split of the same images; one generation later too, and where names differ."""
    renamed = tmp_path / "renamed"
    shutil.copytree(data, renamed)
    for file in list(renamed.glob("*/*.png")):
        file.rename(file.with_stem(f"new-{file.stem}"))
    seen = {f"new-{name}" for part in ("train", "validation") for name in names(run, part)}
    given = {"init": str(run)} if option == "init" else {"teacher": [str(run)]}
    options = OPTIONS | {"data": str(renamed), "split": "random-80-10-10-seed7"}
    first = medseg.train(**options, **given, out=str(tmp_path / "first"))
    leaked = seen.intersection(names(Path(first["run"]), "test"))
    assert leaked
    stamp = first["summaries"]["test"]["stamp"]
    assert stamp["verdict"] == "LEAKY"
    fact = f"{len(leaked)} of 2 images are, byte for byte, among those that --{option} {run} was"
    assert stamp["text"].startswith(fact)
    assert evaluate(first["run"])["stamp"] == stamp
    second = medseg.train(**options, init=first["run"], out=str(tmp_path / "second"))
    assert second["summaries"]["test"]["stamp"]["verdict"] == "LEAKY"
    stranger = pairs(tmp_path / "stranger", 6, start=300)
    shutil.copy(data / "images" / f"{names(run, 'train')[0]}.png", stranger / "images" / "s05.png")
    stamp = evaluate(second["run"], data=str(stranger), split_part="all")["stamp"]
    assert stamp["verdict"] == "seen"


def test_weights_of_the_same_split_are_no_leak(run, data, tmp_path):
    again = medseg.train(**OPTIONS, data=str(data), init=str(run), out=str(tmp_path / "again"))
    for part in ("validation", "test"):
        assert again["summaries"][part]["stamp"]["verdict"] == "unknown"
    (Path(again["run"]) / "splits" / "ancestors.csv").write_text("source,part\na,train\n")
    with pytest.raises(UserError, match=r"ancestors\.csv: cannot be read"):
        evaluate(again["run"])


def test_a_run_is_not_resumed_on_masks_that_are_read_in_another_way(tmp_path):
    data = pairs(tmp_path / "set", 12)
    for file in (data / "masks").iterdir():
        mask = (cv2.imread(str(file), cv2.IMREAD_UNCHANGED) > 127).astype("uint8")
        mask[:12, :24] = 2
        write(file, mask)
    run = medseg.train(**OPTIONS | {"data": str(data), "out": str(tmp_path / "run")})["run"]
    medseg.train(resume=run, epochs=2)
    (data / "dataset.yaml").write_text("ignore: [2]\n")
    with pytest.raises(UserError, match="are read in another way than when it was started"):
        medseg.train(resume=run, epochs=3)


def test_a_class_that_only_test_has_does_not_lose_the_run(tmp_path):
    """Case 11: evaluate can leave out what the run cannot know."""
    data = pairs(tmp_path / "set", 12)
    for file in (data / "masks").iterdir():
        mask = (cv2.imread(str(file), cv2.IMREAD_UNCHANGED) > 127).astype("uint8")
        mask[:12, :24] = 2
        write(file, mask)
    run = Path(medseg.train(**OPTIONS | {"data": str(data), "out": str(tmp_path / "run")})["run"])
    file = data / "masks" / f"{names(run, 'test')[0]}.png"
    mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    mask[-16:, -16:] = 3
    write(file, mask)
    with pytest.raises(UserError, match="holds the value 3, expected class indices below 3"):
        evaluate(run)
    summary = evaluate(run, ignore_index=[3])
    assert summary["classes"] == 3 and "changed since" in summary["notes"][0]
