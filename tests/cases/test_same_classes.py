"""A run that is resumed, and a teacher, know the classes of the masks in their order."""

import pytest
from scenes import pairs

import medseg
from conftest import FAST
from medseg.errors import UserError

OPTIONS = FAST | {"epochs": 1, "workers": 1}


def classes(root, values=(1, 2)):
    """Twelve pairs of two classes, stored as these values."""

    def coding(mask, index):
        mask[:12, :24] = 2
        stored = mask.copy()
        stored[mask == 1], stored[mask == 2] = values
        return stored

    return pairs(root, 12, coding)


def names(root, *words):
    (root / "dataset.yaml").write_text(f"classes: [{', '.join(words)}]\n")


def train(data, out, **options):
    return medseg.train(**OPTIONS | {"data": str(data), "out": str(out)} | options)["run"]


def test_a_run_is_not_resumed_with_other_class_names(tmp_path):
    data = classes(tmp_path / "set")
    names(data, "background", "polyp", "tool")
    run = train(data, tmp_path / "run")
    names(data, "background", "tool", "polyp")
    with pytest.raises(UserError, match=r"background, polyp, tool, dataset\.yaml now says backgr"):
        medseg.train(resume=run, epochs=2)
    (data / "dataset.yaml").unlink()
    with pytest.raises(UserError, match=r"dataset\.yaml now says no names"):
        medseg.train(resume=run, epochs=2)
    names(data, "background", "polyp", "tool")
    medseg.train(resume=run, epochs=2)


def test_classes_without_names_may_be_named_later(tmp_path):
    data = classes(tmp_path / "set")
    run = train(data, tmp_path / "run")
    names(data, "background", "polyp", "tool")
    medseg.train(resume=run, epochs=2)
    assert medseg.Predictor.load(run).class_names == ("background", "polyp", "tool")


@pytest.mark.parametrize("words", ["background, tool, polyp", "background, polyp, clip"])
def test_a_teacher_of_other_names_is_refused(tmp_path, words):
    data = classes(tmp_path / "set")
    names(data, "background", "polyp", "tool")
    teacher = train(data, tmp_path / "teacher")
    names(data, words)
    with pytest.raises(UserError, match=f"knows the classes background, polyp, tool, .* {words};"):
        train(data, tmp_path / "student", teacher=[teacher])


def test_a_teacher_of_other_values_is_refused(tmp_path):
    teacher = train(classes(tmp_path / "a"), tmp_path / "teacher", class_map=["0=0", "1=2", "2=1"])
    data = classes(tmp_path / "b")
    with pytest.raises(UserError, match="masks in which 1 is class 2, here it is class 1;"):
        train(data, tmp_path / "student", teacher=[teacher])
    names(data, "background", "polyp", "tool")  # one set without names: values still decide
    with pytest.raises(UserError, match="masks in which 1 is class 2, here it is class 1;"):
        train(data, tmp_path / "student", teacher=[teacher])


def test_a_teacher_of_the_same_classes_in_other_values_is_taken(tmp_path):
    data = classes(tmp_path / "a")
    names(data, "background", "polyp", "tool")
    teacher = train(data, tmp_path / "teacher")
    other = classes(tmp_path / "b", values=(2, 1))
    (other / "dataset.yaml").write_text(
        "classes: [background, polyp, tool]\nclass_map: {0: background, 2: polyp, 1: tool}\n"
    )
    train(other, tmp_path / "student", teacher=[teacher])


def test_a_binary_teacher_of_another_coding_is_taken(tmp_path):
    ones = pairs(tmp_path / "ones", 12, lambda mask, index: mask)
    teacher = train(ones, tmp_path / "teacher")
    train(pairs(tmp_path / "set", 12), tmp_path / "student", teacher=[teacher])
