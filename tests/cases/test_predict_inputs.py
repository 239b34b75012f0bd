"""Predict takes images as input, and never its own output, masks or hidden folders."""

import shutil

import pytest
from scenes import pairs, scene, write

import medseg
from medseg.cli import main
from medseg.errors import UserError
from medseg.inference.inputs import collect, output_names


@pytest.fixture
def images(tmp_path):
    """A function that writes images of these paths below a folder, and gives the folder."""

    def make(*names):
        for name in names:
            write(tmp_path / "in" / name, scene(1)[0])
        return tmp_path / "in"

    return make


@pytest.fixture
def log():
    """The lines that medseg logs."""
    from loguru import logger

    lines = []
    handle = logger.add(lines.append, format="{message}", level="INFO")
    yield lines
    logger.remove(handle)


def taken(folder, **options):
    return sorted(str(path) for path in collect([str(folder)], **options).values())


def test_predicting_into_a_folder_below_the_images_twice(tmp_path, capsys):
    data = pairs(tmp_path / "set", 8)
    tiny = {"model": "unet", "base_channels": 4, "size": 32, "epochs": 1, "threads": 1}
    out = {"out": str(tmp_path / "run"), "tensorboard": False, "progress": False}
    run = medseg.train(data=str(data), **tiny, **out)["run"]
    shutil.copytree(data / "images", tmp_path / "in")
    write(tmp_path / "in" / ".ipynb_checkpoints" / "s00-checkpoint.png", scene(0)[0])
    command = ["predict", str(run), str(tmp_path / "in"), "--out", str(tmp_path / "in" / "out")]
    for more in ([], ["--overwrite"], ["--overwrite", "--save", "probability"]):
        assert main([*command, *more]) == 0
        assert "of 8 of 8 images" in capsys.readouterr().err
    assert len(list((tmp_path / "in" / "out" / "masks").rglob("*.png"))) == 8
    command[-1] = str(tmp_path / "in" / "another")  # the earlier results stay out too
    assert main(command) == 0 and "of 8 of 8 images" in capsys.readouterr().err
    command[-1] = str(tmp_path / "in")
    for more in ([], ["--overwrite"]):
        assert main([*command, *more]) == 0 and "of 8 of 8 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "expected", "said"),
    [
        (["a.png", "b/a.png", "b/.c/a.png"], ["a.png", "b/a.png"], "in/b/.c (hidden)"),
        (["a.png", "__MACOSX/a.png"], ["a.png"], "__MACOSX (hidden)"),
        (["images/a.png", "masks/a.png"], ["images/a.png"], "in/masks (masks)"),
        (
            ["t/Original/a.png", "t/Ground Truth/a.png"],
            ["t/Original/a.png"],
            "Ground Truth (masks)",
        ),
        (["images/a.png", "1st_manual/a.png"], ["images/a.png"], "in/1st_manual (masks)"),
        (["imagestr/a.png", "labelstr/a.png"], ["imagestr/a.png"], "in/labelstr (masks)"),
        (["a.png", "old/overlays/a.png"], ["a.png"], "old/overlays (results of a prediction)"),
        (["a.png", "masks/a.png", "overlays/a.png"], ["a.png"], "masks (results of a prediction)"),
        (["a.png", "a_mask.png", "b.png"], ["a.png", "b.png"], "1 files such as"),
        (["1.png", "p1.png", "2.png", "p2.png"], ["1.png", "2.png"], "2 files such as"),
    ],
)
def test_what_is_left_out_is_said(names, expected, said, images, log):
    assert taken(images(*names)) == expected
    assert len(log) == 1 and said in log[0]


def test_what_is_an_image_is_taken_without_a_word(images, log):
    folder = images("1.png", "p1.png", "2.png", "results/a.png", "b [/x]/{0}.png")
    assert len(taken(folder)) == 5 and not log
    assert len(taken(images("masks/a.png") / "masks")) == 1  # given itself
    assert len(collect([str(images("q/.h/a.png") / "q" / ".h" / "a.png")])) == 1


def test_results_of_other_verbs_and_links(images, tmp_path):
    folder = images("a.png", "run/curves.png", "ev/a.png", "sub/b.png")
    (folder / "run" / "last.pt").touch()
    (folder / "ev" / "summary.json").touch()
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "elsewhere" / "c.png", scene(0)[0])
    assert taken(folder) == ["a.png", "link/c.png", "sub/b.png"]
    assert taken(folder, out=folder / "sub") == ["a.png", "link/c.png"]


def test_nothing_but_what_is_left_out(images):
    with pytest.raises(UserError, match=r"no image in this folder; .*left out: .*masks \(masks\)"):
        collect([str(images("masks/a.png"))])


def test_results_have_names_of_their_own(images):
    folder = images("a.png", "a.jpg", "b/a.png")
    assert sorted(output_names(collect([str(folder)])).values()) == ["a_jpg", "a_png", "b/a"]
