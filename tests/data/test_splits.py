"""Named seeds over sorted names."""

import itertools

import pytest

from medseg.data.sources.splits import hold_out, random_split, read_split, write_split
from medseg.errors import UserError

NAMES = [f"n{i}" for i in range(100)]


def test_a_random_split_is_a_partition_fixed_by_its_name():
    parts = random_split(NAMES, "random-80-10-10")
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [80, 10, 10]
    assert sorted(itertools.chain(*parts.values())) == sorted(NAMES)
    assert (
        parts
        == random_split(NAMES[::-1], "random-80-10-10")
        == random_split(NAMES, "random-80-10-10-seed0")
    )
    assert parts != random_split(NAMES, "random-80-10-10-seed7")
    assert parts["test"][:3] == ["n15", "n31", "n40"]  # published once, never changed


@pytest.mark.parametrize("count", [3, 4, 7, 11])
def test_small_sets_fill_every_part(count):
    parts = random_split(NAMES[:count], "random-80-10-10")
    assert len(parts) == 3 and all(parts.values()) and sum(map(len, parts.values())) == count


def test_parts_without_a_share_are_absent():
    assert set(random_split(NAMES, "random-80-20-0")) == {"train", "validation"}


@pytest.mark.parametrize(
    "scheme", ["random-80-10", "random-80-10-20", "random-a-b-c", "random-80-10-10-7"]
)
def test_wrong_shares(scheme):
    with pytest.raises(UserError, match="add up to 100"):
        random_split(NAMES, scheme)


def test_too_few_images():
    with pytest.raises(UserError, match="1 image cannot make 3 parts"):
        random_split(["a"], "random-80-10-10")


def test_holding_out_depends_on_names_alone():
    rest, held = hold_out(NAMES, 0.1, 0)
    assert len(held) == 10 and sorted(rest + held) == sorted(NAMES)
    assert set(hold_out(NAMES[::-1], 0.1, 0)[1]) == set(held) != set(hold_out(NAMES, 0.1, 1)[1])
    assert len(hold_out(["a", "b"], 0.1, 0)[1]) == 1


def test_lists_read_back(tmp_path):
    parts = {"train": ["a b", "c.d"], "test": ["é"]}
    write_split(tmp_path / "s", parts)
    assert read_split(tmp_path / "s") == parts
    with pytest.raises(UserError, match=r"holds no train\.txt"):
        read_split(tmp_path)
