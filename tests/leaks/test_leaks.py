"""What ties parts together is found, counted and shown; published splits give known facts."""

import json
import shutil

import cv2
import pytest
from textured import scenes

from medseg.cli import main
from medseg.data.sample import Item
from medseg.data.sources.folder import open_dataset
from medseg.files import read_csv
from medseg.leaks.evidence import Images, between, gather, pair_rows, within
from medseg.leaks.fingerprints import fingerprints
from medseg.leaks.matching import exact_pairs

DUPLICATES = {(108, 139), (98, 147), (99, 148), (183, 198), (190, 203), (264, 271), (265, 272)}


def images_of(*rows):
    """(name, part, group) rows as `Images`."""
    return Images(
        tuple(Item(name, None, (), group) for name, _, group in rows),
        tuple(part for _, part, _ in rows),
    )


def real_split(real, name, split):
    dataset = open_dataset(real / name, split=split)
    return Images(
        tuple(item for items in dataset.parts.values() for item in items),
        tuple(part for part, items in dataset.parts.items() for _ in items),
    )


def test_evidence_between_and_within_parts():
    images = images_of(
        ("v1", "train", "a"),
        ("v2", "test", "a"),
        ("v9", "test", "a"),
        ("v3", "train", "b"),
        ("w4", "test", None),
        ("w5", "train", None),
    )
    found = gather(images, [(0, 3)], {(0, 3): 9, (1, 3): 12, (4, 5): 7})
    assert found.neighbour == {(0, 1)}  # v2 and v3 follow each other but belong to two groups
    assert between(images, found) == [
        {
            "part": "test",
            "in": "train",
            "images": 3,
            "exact": 0,
            "near": 2,
            "neighbour": 1,
            "group": 2,
            "any": 3,
        }
    ]
    assert within(images, found) == [
        {
            "part": "train",
            "in": "itself",
            "images": 3,
            "exact": 2,
            "near": 0,
            "neighbour": 0,
            "group": 0,
            "any": 2,
        },
        {
            "part": "test",
            "in": "itself",
            "images": 3,
            "exact": 0,
            "near": 0,
            "neighbour": 0,
            "group": 2,
            "any": 2,
        },
    ]
    assert [
        (row["name"], row["other"], row["evidence"], row["same_group"])
        for row in pair_rows(images, found)
    ] == [
        ("v2", "v3", "near", "no"),
        ("w4", "w5", "near", ""),
        ("v1", "v2", "neighbour", "yes"),
        ("v1", "v3", "exact", "no"),
    ]


def test_a_table_of_groups_outweighs_weak_likeness():
    images = images_of(("1", "train", "a"), ("2", "test", "b"), ("3", "test", None))
    found = gather(images, [], {(0, 1): 9, (0, 2): 9})
    assert found.near == {(0, 2)}
    assert gather(images, [], {(0, 1): 10}).near == {(0, 1)} and gather(
        images, [(0, 1)], {(0, 1): 7}
    ).exact == {(0, 1)}


def test_without_groups_nothing_is_said_of_them():
    images = images_of(("1", "train", None), ("2", "test", None))
    assert between(images, gather(images, [], {})) == [
        {
            "part": "test",
            "in": "train",
            "images": 1,
            "exact": 0,
            "near": 0,
            "neighbour": None,
            "group": None,
            "any": 0,
        }
    ]
    assert within(images, gather(images, [], {}))[1]["group"] is None


@pytest.mark.parametrize(
    ("split", "expected"), [("pranet-550-62", 62), ("endoscene-patient-disjoint", 0)]
)
def test_sequences_of_clinicdb(real, split, expected):
    images = real_split(real, "CVC-ClinicDB", split)
    rows = between(images, gather(images, [], {}))
    assert all((row["neighbour"], row["group"], row["any"]) == (expected,) * 3 for row in rows)
    sets = {
        part: {
            int(item.name)
            for item, own in zip(images.items, images.parts, strict=True)
            if own == part
        }
        for part in images.names
    }
    assert len(sets["test"]) == (62 if expected else 122)


@pytest.mark.slow
def test_exact_duplicates_of_colondb_and_etis(real):
    images = real_split(real, "CVC-ColonDB", "random-80-20-0")
    known = DUPLICATES | {(a, b) for a in range(242, 264) for b in range(a + 3, 264, 3)}
    names = {str(number) for pair in known for number in pair} | {"1", "2", "150"}
    items = [item for item in images.items if item.name in names]
    found = exact_pairs(fingerprints(items))
    assert {tuple(sorted(int(items[i].name) for i in pair)) for pair in found} == known
    items = real_split(real, "ETIS-LaribPolypDB-first24", "random-80-20-0").items
    assert [{items[a].name, items[b].name} for a, b in exact_pairs(fingerprints(items))] == [
        {"20", "22"}
    ]


@pytest.mark.slow
def test_clinicdb_by_appearance_alone(real, tmp_path, capsys):
    assert (
        main(
            [
                "data",
                "leaks",
                str(real / "CVC-ClinicDB"),
                "--split",
                "pranet-550-62",
                "--out",
                str(tmp_path / "o"),
                "--json",
                "--groups",
                "none",
            ]
        )
        == 1
    )
    row = json.loads(capsys.readouterr().out)["between"][0]
    assert row["group"] is None and row["near"] >= 56  # 90 % of 62
    groups = {
        item.name: item.group
        for items in open_dataset(real / "CVC-ClinicDB", split="pranet-550-62").parts.values()
        for item in items
    }
    near = [
        (f"{pair['name']:g}", f"{pair['other']:g}")
        for pair in read_csv(tmp_path / "o" / "pairs.csv")
    ]
    assert len(near) > 1500
    assert sum(groups[a] != groups[b] for a, b in near) <= 0.02 * len(near)


@pytest.mark.slow
def test_cvc300_lies_inside_colondb(real, tmp_path, capsys):
    for kind in ("images", "masks"):
        (tmp_path / "CVC-300" / kind).mkdir(parents=True)
        for number in range(149, 209):
            file = next((real / "CVC-ColonDB" / kind).glob(f"{number}.*"))
            (tmp_path / "CVC-300" / kind / f"{number - 148}{file.suffix}").symlink_to(file)
    assert (
        main(
            [
                "data",
                "leaks",
                str(real / "CVC-ColonDB"),
                "--against",
                str(tmp_path / "CVC-300"),
                "--out",
                str(tmp_path / "o"),
                "--json",
            ]
        )
        == 1
    )
    rows = json.loads(capsys.readouterr().out)["between"]
    assert [(row["part"], row["in"], row["exact"]) for row in rows] == [("CVC-300", "all", 60)]


def test_the_command_reports_and_exits_with_1_where_parts_leak(tmp_path, capsys):
    root = scenes(tmp_path / "set", {"train": range(6), "test": range(6, 9)})
    command = ["data", "leaks", str(root), "--out", str(tmp_path / "o"), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["leaks"] is False
    image = cv2.imread(str(root / "train" / "images" / "f2.png"))
    cv2.imwrite(
        str(root / "test" / "images" / "f7.png"), cv2.convertScaleAbs(image[4:, 6:], alpha=0.9)
    )
    shutil.copy(root / "train" / "images" / "f1.png", root / "test" / "images" / "f8.png")
    assert main(command) == 2  # results are not replaced unasked
    capsys.readouterr()
    assert main([*command, "--overwrite"]) == 1
    result = json.loads(capsys.readouterr().out)
    row = result["between"][0]
    assert (row["images"], row["exact"], row["near"], row["any"], result["leaks"]) == (
        3,
        1,
        1,
        2,
        True,
    )
    assert {
        (row["name"], row["other"], row["evidence"])
        for row in read_csv(tmp_path / "o" / "pairs.csv")
    } == {("f1", "f8", "exact"), ("f2", "f7", "near")}
    page = (tmp_path / "o" / "leaks.html").read_text()
    assert (
        "LEAKY" in page
        and page.count("<img ") == 4
        and "<script" not in page
        and "http" not in page
    )


def test_a_groups_file_tells_of_shared_patients(tmp_path, capsys):
    root = scenes(tmp_path / "set", {"train": range(4), "test": range(4, 6)})
    (tmp_path / "g.csv").write_text("name,group\nf0,p1\nf4,p1\nf5,p2\n")
    command = [
        "data",
        "leaks",
        str(root),
        "--out",
        str(tmp_path / "o"),
        "--json",
        "--overwrite",
        "--groups",
    ]
    assert main([*command, str(tmp_path / "g.csv")]) == 1
    row = json.loads(capsys.readouterr().out)["between"][0]
    assert (row["group"], row["near"], row["any"]) == (1, 0, 1)
    assert (tmp_path / "o" / "leaks.html").read_text().count(
        "<img "
    ) == 2  # f4 beside f0, though they look nothing alike
    for text, word in (
        ("name,patient\nf0,1\n", "columns name and group"),
        ("name,group\nother,1\n", "names none of the images"),
    ):
        (tmp_path / "g.csv").write_text(text)
        assert main([*command, str(tmp_path / "g.csv")]) == 2
        assert word in capsys.readouterr().err
    assert main([*command, "missing.csv"]) == 2


def test_names_are_escaped_on_the_page(tmp_path, capsys):
    root = scenes(tmp_path / "a<b>&", {"train": range(2), "test": range(2, 4)})
    shutil.copy(root / "train" / "images" / "f1.png", root / "test" / "images" / "f3.png")
    assert main(["data", "leaks", str(root), "--out", str(tmp_path / "o")]) == 1
    page = (tmp_path / "o" / "leaks.html").read_text()
    assert "a&lt;b&gt;&amp;" in page and "a<b>" not in page
