"""Files that hold several pictures: what is not read is said, or each page is an image."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scenes import scene

from medseg.cli import main
from medseg.data.cache import read_pair
from medseg.data.decode import page_count, read_image, read_stored_mask
from medseg.data.masks import Declared, survey
from medseg.data.sources.folder import open_dataset, open_whole
from medseg.errors import UserError
from medseg.preprocessing import Preprocessing

PAGES = 3


@pytest.fixture
def stacks(tmp_path):
    """Five pairs of TIFF stacks."""
    root = tmp_path / "stacks"
    for k in range(5):
        pages = [scene(100 * k + i) for i in range(PAGES)]
        images = np.stack([image[..., 0] for image, _ in pages])
        masks = np.stack([mask * 255 for _, mask in pages])
        write_stack(root / "images" / f"v{k}.tif", images)
        write_stack(root / "masks" / f"v{k}.tif", masks)
    return root


def write_stack(path: Path, pages: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pages, photometric="minisblack")


def test_pages_beyond_the_first_are_named(stacks):
    dataset = open_dataset(stacks)
    assert sum(map(len, dataset.parts.values())) == 5
    said = "5 of 5 images hold several pages (v0.tif: 3); the first is used; --pages all reads each"
    assert [note for note in dataset.notes if "pages" in note] == [said]


def test_every_page_is_an_image_of_its_own_and_stays_with_its_file(stacks):
    dataset = open_dataset(stacks, pages="all")
    items = [item for part in dataset.parts.values() for item in part]
    assert sorted(item.name for item in items) == sorted(
        f"v{k}-page{page:02d}" for k in range(5) for page in range(1, PAGES + 1)
    )
    for part in dataset.parts.values():
        assert {item.group for item in part} == {item.image.stem for item in part}
        assert len(part) == PAGES * len({item.image for item in part})
    coding = survey(items, Declared())
    for item in items:
        expected, mask = scene(100 * int(item.image.stem[1:]) + item.page)
        image, read = read_pair(item, coding, Preprocessing((64, 64), channels=1))
        np.testing.assert_array_equal(image[..., 0], expected[..., 0])
        np.testing.assert_array_equal(read, mask)


def test_dataset_yaml_can_ask_for_all_pages_and_the_flag_overrules_it(stacks):
    (stacks / "dataset.yaml").write_text("pages: all\n")
    assert len(open_whole(stacks).parts["all"]) == 5 * PAGES
    assert len(open_whole(stacks, pages="first").parts["all"]) == 5


def test_masks_with_another_number_of_pages_are_refused_by_name(stacks):
    write_stack(stacks / "masks" / "v3.tif", np.zeros((2, 72, 80), np.uint8))
    with pytest.raises(UserError, match=r"v3\.tif: holds 2 pages, its image v3\.tif 3 pages"):
        open_dataset(stacks, pages="all")


def test_a_run_on_all_pages_is_evaluated_on_the_pages_of_its_lists(stacks, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "result"
    words = "--model unet --base-channels 4 --size 32 --epochs 1 --accelerator cpu --no-tensorboard"
    given = ["--data", str(stacks), "--pages", "all", "--out", str(run)]
    assert main(["train", *words.split(), *given]) == 0
    lists = {path.stem: path.read_text().split() for path in (run / "splits").glob("*.txt")}
    assert all("-page" in name for names in lists.values() for name in names)
    assert main(["evaluate", str(run), "--out", str(out), "--accelerator", "cpu"]) == 0
    rows = (out / "per_image.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == set(lists["test"])


def frames(path: Path, count: int, **options) -> None:
    pictures = [Image.fromarray(scene(i)[0]) for i in range(count)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {}), ("a.tif", {})],
)
def test_pages_of_every_format(tmp_path, name, options):
    frames(tmp_path / name, 3, **options)
    frames(tmp_path / f"one-{name}", 1, **options)
    assert page_count(tmp_path / name) == 3
    assert page_count(tmp_path / f"one-{name}") == 1
    for page in range(3):
        out = read_image(tmp_path / name, page=page).pixels
        difference = np.abs(out.astype(int) - scene(page)[0]).mean()
        assert difference < (8 if name == "a.gif" else 0.01)
    with pytest.raises(UserError, match=r"has no page 4; it holds 3"):
        read_stored_mask(tmp_path / name, page=3)


def test_a_thumbnail_is_no_page(tmp_path):
    pixels = np.arange(80 * 60, dtype=np.uint8).reshape(60, 80)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels, photometric="minisblack")
        file.write(pixels[::4, ::4], photometric="minisblack", subfiletype=1)
    assert page_count(tmp_path / "a.tif") == 1
