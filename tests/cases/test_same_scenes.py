"""Kvasir-SEG's images of one scene: groups of the catalog, and a split that divides none."""

from collections import Counter

import cv2
import numpy as np
import pytest

from medseg.data.sources.catalog import CATALOG, group_of
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.groups import read_groups
from medseg.data.sources.splits import read_split, shipped_folder
from medseg.evaluation.intervals import about
from medseg.evaluation.stamp import split_stamp

LISTS = shipped_folder() / "Kvasir-SEG"
SPLIT = "grouped-800-100-100"


@pytest.fixture(scope="module")
def kvasir(tmp_path_factory):
    """A folder with Kvasir-SEG's names and one picture: groups go by name."""
    root = tmp_path_factory.mktemp("data")
    picture = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    for kind in ("images", "masks"):
        (root / "Kvasir-SEG" / kind).mkdir(parents=True)
    for names in read_split(LISTS / SPLIT).values():
        for name in names:
            for kind in ("images", "masks"):
                (root / "Kvasir-SEG" / kind / f"{name}.png").write_bytes(picture)
    return root


def test_the_table_holds_whole_groups_of_known_names():
    groups = read_groups(LISTS / "groups.csv")
    names = {name for part in read_split(LISTS / SPLIT).values() for name in part}
    assert set(groups) <= names
    assert (len(groups), len(set(groups.values()))) == (93, 42)
    assert min(Counter(groups.values()).values()) == 2


def test_the_grouped_split_divides_no_group_and_keeps_the_sizes():
    groups = read_groups(LISTS / "groups.csv")
    parts, published = (read_split(LISTS / each) for each in (SPLIT, "effisegnet-800-100-100"))
    assert [len(parts[part]) for part in parts] == [800, 100, 100]
    assert {name for part in parts.values() for name in part} == {
        name for part in published.values() for name in part
    }
    places = {}
    for part, names in parts.items():
        for name in names:
            places.setdefault(groups.get(name, name), set()).add(part)
    assert all(len(where) == 1 for where in places.values())
    moved = [len(set(parts[part]) - set(published[part])) for part in parts]
    assert sum(moved) == 16


@pytest.mark.parametrize(
    ("split", "part", "leaking"),
    [
        ("effisegnet-800-100-100", "validation", 9),
        ("effisegnet-800-100-100", "test", 7),
    ],
)
def test_the_published_split_is_stamped_leaky(kvasir, split, part, leaking):
    stamp = split_stamp(open_dataset("kvasir-seg", data_root=kvasir, split=split), part)
    assert stamp["verdict"] == "LEAKY"
    assert stamp["text"].startswith(f"{leaking} of 100 {part} images")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_scenes_are_no_patients_so_the_grouped_split_has_no_certificate(kvasir, part):
    stamp = split_stamp(open_dataset("kvasir-seg", data_root=kvasir, split=SPLIT), part)
    assert stamp["verdict"] == "unknown"
    assert "no known group is divided" in stamp["text"]
    assert "not known for all images" in stamp["text"]


def test_groups_of_the_other_sets_are_as_before():
    assert group_of(CATALOG["cvc-clinicdb"], "26") == "2"
    assert group_of(CATALOG["cvc-clinicdb"], "613") is None
    assert group_of(CATALOG["cvc-300"], "149") is None


def test_sequences_of_colondb_say_what_its_published_split_divides():
    parts = read_split(shipped_folder() / "CVC-ColonDB" / "endoscene-patient-disjoint")
    groups = {
        part: {group_of(CATALOG["cvc-colondb"], name) for name in names}
        for part, names in parts.items()
    }
    assert groups["train"] & groups["validation"] == {"9"}  # frames 209 to 263
    assert not groups["test"] & (groups["train"] | groups["validation"])
    assert [group_of(CATALOG["cvc-colondb"], name) for name in ("263", "264")] == ["9", "10"]


def test_images_without_a_group_count_as_groups_of_their_own():
    made = about(["a", "a", None, None, None])
    assert (made["unit"], made["n_groups"]) == ("group", 4)
    assert about([None, None])["n_groups"] is None
