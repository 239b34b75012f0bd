"""Folders as people have them: which image has which masks, and what is left out by name."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from cases.scenes import pairs, scene, write
from medseg.cli import main
from medseg.config import CheckConfig, make
from medseg.data.sources.folder import open_dataset, open_whole
from medseg.data.sources.groups import about_groups
from medseg.data.sources.pairing import find_pairs
from medseg.data.sources.rules import Rule
from medseg.doctor.check import check as check_of
from medseg.errors import UserError

BLACK = {}


def touch(root, *names):
    """Small black images (or empty files of other kinds) of these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"):
            data = BLACK.setdefault(path.suffix, _black(path.suffix))
        else:
            data = b"GIF87a" if path.suffix == ".gif" else b"text"
        path.write_bytes(data)
    return root


def _black(suffix):
    return cv2.imencode(suffix, np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def found(root, rule=None):
    """Masks by image and part, as paths below the root; problems are errors."""
    pairing = find_pairs(root, rule)
    return {
        (f"{part}: " if part else "") + item.image.relative_to(root).as_posix(): [
            mask.relative_to(root).as_posix() for mask in item.masks
        ]
        for part, items in pairing.items().items()
        for item in items
    }


def notes(root):
    return "\n".join(find_pairs(root).notes)


IDS = [f"c_{i:03d}" for i in range(12)]
ONE_TO_ONE = {
    "cvat": ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
    "nnunet": ("imagesTr/{}_0000.png", "labelsTr/{}.png"),
    "lesion": ("images/{}.png", "masks/{}_lesion.png"),
    "capital": ("images/{}.png", "masks/{}_Mask.png"),
    "plural": ("images/{}.jpg", "masks/{}_masks.png"),
    "gt": ("images/{}.jpg", "gt/{}_gt.png"),
    "label": ("images/{}.jpg", "labels/{}_label.png"),
    "dash": ("images/{}.jpg", "masks/{}-mask.png"),
    "first": ("images/{}.jpg", "masks/mask_{}.png"),
    "twice": ("images/{}.png", "masks/{}.png.png"),
    "jpg_png": ("images/{}.jpg", "masks/{}.jpg.png"),
    "annotation": ("images/{}.jpg", "annotations/{}_annotation.png"),
    "unknown": ("images/{}.jpg", "masks/{}_tumour.png"),
    "both": ("images/img_{}.jpg", "masks/gt_{}.png"),
    "both_after": ("image/{}_image.png", "label/{}_label.png"),
    "polyp": ("images/{}.tif", "masks/p{}.tif"),
    "mmseg": ("img_dir/{}.jpg", "ann_dir/{}.png"),
    "original": ("Original/{}.tif", "Ground Truth/{}.tif"),
    "isic": ("ISIC_Data/{}.jpg", "ISIC_GroundTruth/{}_segmentation.png"),
    "around": ("{}.jpg", "masks/{}.png"),
    "pets": ("images/{}.jpg", "annotations/trimaps/{}.png"),
    "one_folder": ("{}.jpg", "{}_mask.png"),
    "one_folder_p": ("{}.tiff", "p{}.tiff"),
    "one_folder_formats": ("{}.jpg", "{}.png"),
    "one_folder_unknown": ("{}.png", "{}_tumour.png"),
    "one_folder_both": ("{}_image.png", "{}_label.png"),
    "in_images": ("images/{}.jpg", "images/{}_seg.png"),
    "wrapped": ("Some Set/images/{}.jpg", "Some Set/masks/{}.png"),
}


@pytest.mark.parametrize("layout", ONE_TO_ONE)
@pytest.mark.parametrize("ids", [IDS, [str(i) for i in range(1, 13)], ["Möller (1)", "p2", "a.b"]])
def test_each_image_has_its_mask(tmp_path, layout, ids):
    image, mask = ONE_TO_ONE[layout]
    touch(tmp_path, *(form.format(each) for each in ids for form in (image, mask)))
    by_image = {key.split(": ")[-1]: value for key, value in found(tmp_path).items()}
    assert by_image == {image.format(each): [mask.format(each)] for each in ids}


PARTS = {
    "valid": ("train/{}/", "valid/{}/", "test/{}/"),
    "training": ("training/{}/", "validation/{}/", "testing/{}/"),
    "dev": ("Train/{}/", "dev/{}/", "Test/{}/"),
    "inside": ("{}/train/", "{}/val/", "{}/test/"),
    "in_names": ("train_{}/", "val_{}/", "test_{}/"),
    "short": ("{}Tr/", "{}Va/", "{}Ts/"),
}


@pytest.mark.parametrize("layout", PARTS)
def test_parts_under_any_name(tmp_path, layout):
    for at, folder in enumerate(PARTS[layout]):
        for i in range(3):
            touch(tmp_path, folder.format("images") + f"{at}{i}.jpg")
            touch(tmp_path, folder.format("masks") + f"{at}{i}.png")
    parts = open_dataset(tmp_path).parts
    assert {part: [item.name for item in items] for part, items in parts.items()} == {
        "train": ["00", "01", "02"],
        "validation": ["10", "11", "12"],
        "test": ["20", "21", "22"],
    }


def test_drive_has_a_field_of_view_that_is_no_target(tmp_path):
    for i in range(21, 25):
        touch(tmp_path, f"DRIVE/training/images/{i}_training.tif")
        touch(tmp_path, f"DRIVE/training/1st_manual/{i}_manual1.gif")
        touch(tmp_path, f"DRIVE/training/mask/{i}_training_mask.gif")
    for i in range(1, 5):
        touch(
            tmp_path, f"DRIVE/test/images/{i:02}_test.tif", f"DRIVE/test/mask/{i:02}_test_mask.gif"
        )
    expected = {
        f"train: DRIVE/training/images/{i}_training.tif": [
            f"DRIVE/training/1st_manual/{i}_manual1.gif"
        ]
        for i in range(21, 25)
    }
    assert found(tmp_path) == expected
    assert "training/mask (4 images)" in notes(tmp_path)
    assert "no masks lie beside 4 images" in notes(tmp_path)
    for i in range(1, 5):
        touch(tmp_path, f"DRIVE/test/1st_manual/{i:02}_manual1.gif")
        touch(tmp_path, f"DRIVE/test/2nd_manual/{i:02}_manual2.gif")
    assert found(tmp_path) == expected | {
        f"test: DRIVE/test/images/{i:02}_test.tif": [f"DRIVE/test/1st_manual/{i:02}_manual1.gif"]
        for i in range(1, 5)
    }
    assert "2nd_manual (4 images)" in notes(tmp_path)


def test_chase_has_a_second_observer(tmp_path):
    for i in range(1, 4):
        for side in "LR":
            stem = f"Image_{i:02}{side}"
            touch(tmp_path, f"{stem}.jpg", f"{stem}_1stHO.png", f"{stem}_2ndHO.png")
    assert found(tmp_path) == {
        f"Image_{i:02}{side}.jpg": [f"Image_{i:02}{side}_1stHO.png"]
        for i in range(1, 4)
        for side in "LR"
    }
    assert "6 further files" in notes(tmp_path) and "Image_01L_2ndHO.png" in notes(tmp_path)


@pytest.mark.parametrize("folders", [("images", "masks"), ("benign", "benign")])
def test_several_masks_of_an_image_are_united(tmp_path, folders):
    images, masks = folders
    expected = {}
    for i in range(1, 13):
        stem = f"benign ({i})"
        own = [f"{masks}/{stem}_mask.png"]
        own += [f"{masks}/{stem}_mask_1.png"] * (i % 3 == 0) + [f"{masks}/{stem}_mask_2.png"] * (
            i == 6
        )
        touch(tmp_path, f"{images}/{stem}.png", *own)
        expected[f"{images}/{stem}.png"] = own
    assert found(tmp_path) == expected
    assert "4 images have several masks, which are united" in notes(tmp_path)


def test_classes_are_no_groups_but_numbered_folders_are(tmp_path):
    for kind in ("benign", "malignant", "normal"):
        for i in (1, 2):
            touch(tmp_path, f"busi/{kind}/{kind} ({i}).png", f"busi/{kind}/{kind} ({i})_mask.png")
    for patient in ("p1", "p2", "p10"):
        for i in (1, 2):
            touch(tmp_path, f"clinic/{patient}/images/{i}.png", f"clinic/{patient}/masks/{i}.png")
            touch(tmp_path, f"flat/{patient}/{i}.png", f"flat/{patient}/{i}_mask.png")
    groups = {pair.name: pair.group for pair in find_pairs(tmp_path / "busi").pairs}
    assert set(groups.values()) == {None} and "benign (1)" in groups
    for kind in ("clinic", "flat"):
        groups = {pair.name: pair.group for pair in find_pairs(tmp_path / kind).pairs}
        assert groups == {f"{p}/{i}": p for p in ("p1", "p2", "p10") for i in (1, 2)}
        dataset = open_dataset(tmp_path / kind)
        assert {item.group for item in dataset.items} == {"p1", "p2", "p10"}
        said = about_groups(dataset)
        assert said.startswith("groups: 3 (p1, p10, p2), of 6 of 6 images; 2 in several parts")
        assert "several" not in about_groups(open_whole(tmp_path / kind))
    assert about_groups(open_dataset(tmp_path / "busi")) == ""


def test_instances_of_an_image_in_its_folder_are_united(tmp_path):
    expected = {}
    for i, name in enumerate(("00ae65", "0b0d57", "ff3407")):
        masks = [f"stage1_train/{name}/masks/{'abc'[j]}{i}{j}f.png" for j in range(3)]
        touch(tmp_path, f"stage1_train/{name}/images/{name}.png", *masks)
        expected[f"train: stage1_train/{name}/images/{name}.png"] = masks
    assert found(tmp_path) == expected


def test_glas_has_its_parts_in_its_names(tmp_path):
    for name in ("train_1", "train_2", "testA_1", "testB_1"):
        touch(tmp_path, f"Warwick/{name}.bmp", f"Warwick/{name}_anno.bmp")
    parts = {key.split(": ")[0] for key in found(tmp_path)}
    assert parts == {"train", "test"} and len(found(tmp_path)) == 4


def test_superpixels_and_overlays_are_left_out(tmp_path):
    for i in range(4):
        stem = f"ISIC_000000{i}"
        touch(tmp_path, f"{stem}.jpg", f"{stem}_superpixels.png", f"{stem}_segmentation.png")
        touch(tmp_path, f"overlays/{stem}.png")
    assert all(
        len(own) == 1 and own[0].endswith("_segmentation.png") for own in found(tmp_path).values()
    )
    assert "superpixels" in notes(tmp_path) and "overlays (4 images)" in notes(tmp_path)


def test_folders_beside_the_parts_and_unread_files_are_named(tmp_path):
    pairs(tmp_path / "train", 4)
    pairs(tmp_path / "valid", 2, start=100)
    pairs(tmp_path / "extra", 2, start=200)
    touch(tmp_path, "train/images/s09.ppm", "train/masks/Thumbs.db", "train/images/.hidden.png")
    text = notes(tmp_path)
    assert "extra/images (2 images), extra/masks (2 images)" in text
    assert "s09.ppm" in text and "Thumbs" not in text and "hidden" not in text


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["images/a.png", "images/b.png", "masks/a.png"], r"b\.png: no mask in .*pair 1 of 2"),
        (
            ["images/a.png", "images/b.png", "masks/a.png", "masks/b.png", "masks/a_2.png"],
            "several",
        ),
        (["images/a.png", "images/b.png", "masks/x.png", "masks/y.png"], r"a\.png: no mask"),
        (
            [
                *("images/a.png", "images/b.png", "masks/a_liver.png", "masks/a_spleen.png"),
                *("masks/b_liver.png", "masks/b_spleen.png"),
            ],
            r"_liver and .*_spleen both fit",
        ),
        (["images/a.png", "left_mask/a.png", "right_mask/a.png"], "both .*left_mask and .*right"),
        (["a/x.png", "Manual Mask/left mask/x.png", "Manual Mask/right mask/x.png"], "both .*left"),
        (["images/a.jpg", "labels/a.txt"], "medseg data convert"),
        (["images/a.jpg", "images/b.jpg", "annotations.json"], "medseg data convert"),
        (["imagesTr/c_0000.png", "imagesTr/c_0001.png", "labelsTr/c.png"], "channel"),
        (["a.png", "b.png", "c.png"], "--images"),
    ],
)
def test_what_cannot_be_paired_says_how(tmp_path, files, said):
    with pytest.raises(UserError, match=said) as caught:
        found(touch(tmp_path, *files))
    assert "--masks" in str(caught.value) or "convert" in str(caught.value) or "channel" in said


@pytest.mark.parametrize(
    ("files", "rule", "expected"),
    [
        (
            ["images/21_training.tif", "1st/21_manual1.png"],
            ("images/{id}_training.tif", "1st/{id}_manual1.png"),
            {"images/21_training.tif": ["1st/21_manual1.png"]},
        ),
        (
            ["a/1.png", "a/10.png", "b/1_x.png", "b/1_y.png", "b/10.png"],
            ("a/*", "b/{stem}*"),
            {"a/1.png": ["b/1_x.png", "b/1_y.png"], "a/10.png": ["b/10.png"]},
        ),
        (
            ["k/tr/p1/i.png", "k/tr/p1/m.png", "k/ts/p2/i.png", "k/ts/p2/m.png"],
            ("k/{part}/{group}/i.png", "k/{part}/{group}/m.png"),
            {"train: k/tr/p1/i.png": ["k/tr/p1/m.png"], "test: k/ts/p2/i.png": ["k/ts/p2/m.png"]},
        ),
        (
            ["train/x/a.png", "train/y/a.png", "test/x/b.png", "test/y/b.png"],
            ("x/*.png", "y/{stem}"),
            {"train: train/x/a.png": ["train/y/a.png"], "test: test/x/b.png": ["test/y/b.png"]},
        ),
        (
            ["i/a[1]*{2}.png", "m/a[1]*{2}_m.png", "m/a[1]xx{2}_m.png"],
            ("i/*.png", "m/{stem}_m*.png"),
            {"i/a[1]*{2}.png": ["m/a[1]*{2}_m.png"]},
        ),
        (["d/a.png", "d/a_gt.png"], ("d/*", "d/{stem}_gt"), {"d/a.png": ["d/a_gt.png"]}),
    ],
)
def test_a_rule_of_the_user(tmp_path, files, rule, expected):
    touch(tmp_path, *files)
    assert found(tmp_path, Rule(*rule)) == expected
    if not any("part" in each for each in rule):
        (tmp_path / "dataset.yaml").write_text(f"images: '{rule[0]}'\nmasks: '{rule[1]}'\n")
        from medseg.data.sources.folder import paired

        assert [pair.masks for pair in paired(tmp_path).pairs] == [
            tuple(tmp_path / mask for mask in own) for own in expected.values()
        ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (("images/*", None), "--masks is missing"),
        ((None, "masks/{stem}"), "--images is missing"),
        (("images/*", "masks/*"), "expected {stem} or a part"),
        (("images/*", "masks/{id}"), "{id} is no part of --images"),
        (("nowhere/*", "masks/{stem}"), "fits no image"),
        (("images/*", "masks/{stem}_x"), "no mask masks/a_x"),
        (("{part}/*", "masks/{stem}"), "{part} is images here"),
    ],
)
def test_mistakes_in_a_rule(tmp_path, rule, said):
    touch(tmp_path, "images/a.png", "masks/a.png")
    with pytest.raises(UserError) as caught:
        found(tmp_path, Rule(*rule))
    assert said in str(caught.value)


def test_the_flags_reach_training_and_the_check(tmp_path, capsys):
    pairs(tmp_path / "set", 8)
    rows = "".join(f"s{i:02d},p{i // 4}\n" for i in range(8))
    (tmp_path / "set" / "groups.csv").write_text(f"name,group\n{rows}")
    (tmp_path / "set" / "images").rename(tmp_path / "set" / "scans")
    (tmp_path / "set" / "masks").rename(tmp_path / "set" / "drawn")
    data = [str(tmp_path / "set"), "--images", "scans/*", "--masks", "drawn/{stem}"]
    assert main(["data", "check", *data]) == 0
    network = ["--model", "unet", "--base-channels", "8", "--size", "64", "--epochs", "1"]
    run = ["--out", str(tmp_path / "run"), "--threads", "1", "--workers", "1", "--no-tensorboard"]
    assert main(["train", "--data", *data, *network, *run]) == 0
    said = capsys.readouterr().err
    assert "pairing: scans/* with masks drawn/{stem}" in said and "groups: 2 (p0, p1), of 8" in said
    assert main(["evaluate", str(tmp_path / "run")]) == 0


def test_the_check_sees_all_masks_of_an_image_and_repairs_a_copy_of_them(tmp_path):
    check = partial(medseg_check, tmp_path)
    for i in range(6):
        image, mask = scene(i)
        mask[:4] = 0
        corner = np.zeros_like(mask)
        corner[:4, :5] = 255
        folder = tmp_path / "set" / f"id{i}"
        write(folder / "images" / f"id{i}.png", image)
        write(folder / "masks" / f"a{i}x.png", mask * 255)
        write(folder / "masks" / f"f{i}y.png", corner)
    report = check("set", fix=tmp_path / "fixed")
    share = report["classes"][1]["pixel_share"]
    assert share == pytest.approx(check("fixed")["classes"][1]["pixel_share"])
    one = [cv2.imread(str(f), 0) > 0 for f in (tmp_path / "set").glob("*/masks/*.png")]
    assert share == pytest.approx(sum(map(np.sum, one)) / (6 * one[0].size))
    write(tmp_path / "set" / "id0" / "masks" / "f0y.png", np.zeros((9, 9), np.uint8))
    assert "f0y.png is 9x9 pixels" in check("set")["findings"][0]["text"]


def medseg_check(root, name, **options):
    return check_of(make(CheckConfig, {"data": str(root / name), "progress": False} | options))


def test_real_sets_pair_as_before(real):
    counts = {"Kvasir-SEG": 1000, "CVC-ClinicDB": 612, "CVC-ColonDB": 380, "ISBI2012-EM": 30}
    counts |= {"PolypGen-C1-C4": 1241, "ETIS-LaribPolypDB-first24": 24}
    for name, count in counts.items():
        pairing = find_pairs(real / name)
        assert len(pairing.items()[""]) == count and not pairing.notes
        assert all(Path(pair.image).stem == pair.masks[0].stem for pair in pairing.pairs)
