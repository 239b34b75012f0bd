"""dataset.yaml beside the data."""

import pytest

from medseg.data.sources.description import KEYS, PARSERS, Description, read_description
from medseg.errors import UserError

FULL = """
name: Clinic
images: frames/*.png
masks: drawn/{stem}_lesion.png
classes: [background, polyp, 1]
colours: {polyp: "#ff8000", 1: [0, 0, 255]}
mask_kind: index
ignore: 254
pages: all
"""


def test_every_key_is_read(tmp_path):
    (tmp_path / "dataset.yaml").write_text(FULL)
    assert read_description(tmp_path) == Description(
        name="Clinic",
        images="frames/*.png",
        masks="drawn/{stem}_lesion.png",
        classes=("background", "polyp", "1"),
        colours={"polyp": (255, 128, 0), "1": (0, 0, 255)},
        mask_kind="index",
        ignore=(254,),
        pages="all",
    )
    assert set(KEYS) == set(PARSERS)


def test_no_file_an_empty_file_and_empty_keys_say_nothing(tmp_path):
    assert read_description(tmp_path) == Description()
    (tmp_path / "dataset.yaml").write_text("")
    assert read_description(tmp_path) == Description()
    (tmp_path / "dataset.yaml").write_text("name:\nclasses:\n")
    assert read_description(tmp_path) == Description()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clases: [a, b]", "unknown key 'clases', did you mean classes"),
        ("7: a", "unknown key 7"),
        ("- a", "expected lines such as"),
        ("name: [", "not a YAML file"),
        ("name: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("name: 7", "name: got 7, expected a text"),
        ("classes: polyp", "classes: got 'polyp', expected a list of two or more"),
        ("classes: [a]", "expected a list of two or more"),
        ("classes: [a, a]", "expected a list of two or more different"),
        ("classes: [a, [b]]", "expected a list of two or more different"),
        ("colours: red", "expected lines such as"),
        ("colours: {a: [1, 2]}", r"colours: a: got \[1, 2\], expected three whole numbers"),
        ("colours: {a: [1, 2, 256]}", "expected three whole numbers"),
        ("colours: {a: [1, 2, true]}", "expected three whole numbers"),
        ("colours: {a: '#12345'}", "expected three whole numbers"),
        ("colours: {a: [1, 2, 3], b: '#010203'}", "two classes have the same colour"),
        ("classes: [b, c]\ncolours: {a: [1, 2, 3]}", "a is none of the classes b, c"),
        ("mask_kind: yes-no", "mask_kind: got 'yes-no', expected one of auto, "),
        ("ignore: '255'", "ignore: got '255', expected stored values"),
        ("ignore: [-1]", "expected stored values"),
        ("pages: 2", "pages: got 2, expected one of first, all"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path, text, said):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_description(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "dataset.yaml"))
    assert "\n" not in str(caught.value)
