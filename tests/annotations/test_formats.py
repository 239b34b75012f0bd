"""Two objects, written in every format, come out as the same masks."""

import base64
import json
import zlib

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from medseg import cli
from medseg.annotations.formats.maps import by_colour, by_value
from medseg.data.sources.description import read_description
from medseg.data.sources.folder import open_dataset
from medseg.errors import UserError

HEIGHT, WIDTH = 48, 64
SQUARE = [(4, 5), (20, 5), (20, 25), (4, 25)]
HOLE = [(8, 10), (14, 10), (14, 16), (8, 16)]
OTHER = [(30, 20), (50, 20), (50, 40), (30, 40)]


def expected(hole=False):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:25, 4:20] = 1
    if hole:
        mask[10:16, 8:14] = 0
    mask[20:40, 30:50] = 2
    return mask


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def image(path):
    seed = sum(map(ord, path.stem))
    save(path, np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def flat(points):
    return [float(value) for point in points for value in point]


def coco(root):
    image(root / "images" / "a.png")
    annotations = [
        {"id": 7, "image_id": 3, "category_id": 1, "segmentation": [flat(SQUARE)]},
        {"id": 8, "image_id": 3, "category_id": 5, "segmentation": [flat(OTHER)]},
    ]
    document = {
        "images": [{"id": 3, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "polyp"}, {"id": 5, "name": "tool"}],
        "annotations": annotations,
    }
    write(root / "instances.json", document)
    return document


def runs(mask):
    values = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], values, [1 - values[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def coco_rle(root):
    document = coco(root)
    for entry, index in zip(document["annotations"], (1, 2), strict=True):
        counts = runs((expected() == index).astype(int))
        entry["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    write(root / "instances.json", document)


def labelme(root):
    image(root / "a.png")
    shapes = [
        {"label": "polyp", "points": [[4, 5], [20, 25]], "shape_type": "rectangle"},
        {"label": "tool", "points": OTHER, "shape_type": "polygon"},
        {"label": "tool", "points": [[1, 1], [2, 2]], "shape_type": "line"},
    ]
    write(
        root / "a.json",
        {
            "shapes": shapes,
            "imagePath": "..\\elsewhere\\a.png",
            "imageData": "AAAA",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        },
    )


def yolo(root):
    image(root / "images" / "a.png")
    lines = []
    for kind, points in enumerate((SQUARE, OTHER)):
        shares = flat((x / WIDTH, y / HEIGHT) for x, y in points)
        lines.append(" ".join([str(kind), *(f"{share:.6f}" for share in shares)]))
    write(root / "labels" / "a.txt", "\n".join(lines) + "\n")
    write(root / "data.yaml", "names: [polyp, tool]\n")


def cvat(root):
    image(root / "images" / "a.png")
    rle = f"0,{20 * 20}"
    write(
        root / "annotations.xml",
        f"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>
        <meta><task><labels><label><name>polyp</name></label><label><name>tool</name></label>
        </labels></task></meta>
        <image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">
        <polygon label="polyp" points="{";".join(f"{x},{y}" for x, y in SQUARE)}" z_order="0"/>
        <mask label="tool" rle="{rle}" left="30" top="20" width="20" height="20" z_order="1"/>
        </image></annotations>""",
    )


def supervisely(root):
    image(root / "ds" / "img" / "a.png")
    mask = np.full((20, 20), 255, np.uint8)
    data = base64.b64encode(zlib.compress(cv2.imencode(".png", mask)[1].tobytes())).decode()
    last = [(4, 5), (19, 5), (19, 24), (4, 24)]  # pixels, the last ones within
    objects = [
        {
            "classTitle": "polyp",
            "geometryType": "polygon",
            "points": {"exterior": last, "interior": []},
        },
        {
            "classTitle": "tool",
            "geometryType": "bitmap",
            "bitmap": {"data": data, "origin": [30, 20]},
        },
    ]
    size = {"height": HEIGHT, "width": WIDTH}
    write(root / "ds" / "ann" / "a.png.json", {"size": size, "objects": objects})
    write(root / "meta.json", {"classes": [{"title": "polyp"}, {"title": "tool"}]})


def via_regions():
    xs, ys = zip(*OTHER, strict=True)
    return [
        (
            {"name": "rect", "x": 4, "y": 5, "width": 16, "height": 20},
            {"kind": "polyp"},
        ),
        (
            {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)},
            {"kind": {"tool": True, "polyp": False}},
        ),
    ]


def via(root):
    image(root / "a.png")
    regions = [{"shape_attributes": s, "region_attributes": r} for s, r in via_regions()]
    images = {"a.png1234": {"filename": "a.png", "size": 1234, "regions": regions}}
    write(root / "via.json", {"_via_settings": {}, "_via_img_metadata": images})


def via_csv(root):
    image(root / "a.png")
    lines = [
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes"
    ]
    for at, (shape, attributes) in enumerate(via_regions()):
        cells = ['"' + json.dumps(each).replace('"', '""') + '"' for each in (shape, attributes)]
        lines.append(f'a.png,1234,"{{}}",2,{at},{",".join(cells)}')
    write(root / "via.csv", "\n".join(lines) + "\n")


def geojson(root):
    image(root / "a.png")
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {"classification": {"name": name}},
        }
        for name, rings in (("polyp", [SQUARE, HOLE]), ("tool", [OTHER]))
    ]
    write(root / "a.geojson", {"type": "FeatureCollection", "features": features})


def nnunet(root):
    image(root / "imagesTr" / "a_0000.png")
    save(root / "labelsTr" / "a.png", expected())
    labels = {"background": 0, "polyp": 1, "tool": 2}
    write(root / "dataset.json", {"labels": labels, "file_ending": ".png"})


COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 128, 0)], np.uint8)


def voc(root):
    image(root / "JPEGImages" / "a.png")
    save(root / "SegmentationClass" / "a.png", COLOURS[expected()][..., ::-1])
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "polyp:255,0,0::"]
    write(root / "labelmap.txt", "\n".join([*lines, "tool:0,128,0::"]))


def colours(root):
    image(root / "images" / "a.png")
    save(root / "masks" / "a.png", COLOURS[expected()][..., ::-1])
    write(root / "class_dict.csv", "name,r,g,b\npolyp,255,0,0\ntool,0,128,0\n")


FORMATS = {
    "coco": coco,
    "coco rle": coco_rle,
    "labelme": labelme,
    "yolo": yolo,
    "cvat": cvat,
    "supervisely": supervisely,
    "via": via,
    "via csv": via_csv,
    "geojson": geojson,
    "nnunet": nnunet,
    "voc": voc,
    "colours": colours,
}


def convert(root, out, **options):
    """Through the Python side of the command."""
    from medseg.annotations.convert import run_convert
    from medseg.config import ConvertConfig, make

    values = {"source": root, "out": out, "progress": False, "workers": 1}
    return run_convert(make(ConvertConfig, values | options))


def mask_of(out, name="a"):
    return cv2.imread(str(out / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_mask(name, tmp_path):
    FORMATS[name](tmp_path / "source")
    found = convert(tmp_path / "source", tmp_path / "out")
    assert found["format"] == name.split()[0]
    assert (mask_of(tmp_path / "out") == expected(hole=name == "geojson")).all()
    about = yaml.safe_load((tmp_path / "out" / "dataset.yaml").read_text())
    assert about["classes"] == ["background", "polyp", "tool"]
    assert read_description(tmp_path / "out").classes == ("background", "polyp", "tool")
    originals = {path.read_bytes() for path in (tmp_path / "source").rglob("*.png")}
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() in originals


def change(root, **changes):
    """A COCO set with its document changed."""
    document = coco(root)
    for key, value in changes.items():
        document[key] = value(document[key])
    write(root / "instances.json", document)


def test_compressed_run_lengths(tmp_path):
    oracle = pytest.importorskip("pycocotools.mask")
    document = coco(tmp_path / "source")
    for entry, index in zip(document["annotations"], (1, 2), strict=True):
        counts = oracle.encode(np.asfortranarray((expected() == index).astype(np.uint8)))["counts"]
        entry["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts.decode()}
    write(tmp_path / "source" / "instances.json", document)
    convert(tmp_path / "source", tmp_path / "out")
    assert (mask_of(tmp_path / "out") == expected()).all()


@pytest.mark.parametrize(
    ("overlap", "index"), [("last", 2), ("first", 1), ("larger", 1), ("smaller", 2), ("error", 0)]
)
def test_overlaps_have_a_policy(tmp_path, overlap, index):
    small = [(10, 10), (16, 10), (16, 16), (10, 16)]

    def shrink(annotations):
        return [annotations[0], annotations[1] | {"segmentation": [flat(small)]}]

    change(tmp_path / "source", annotations=shrink)
    if overlap == "error":
        with pytest.raises(UserError, match=r"annotation 8: covers 36 pixels"):
            convert(tmp_path / "source", tmp_path / "out", overlap=overlap)
        assert not (tmp_path / "out").exists()
        return
    convert(tmp_path / "source", tmp_path / "out", overlap=overlap)
    assert mask_of(tmp_path / "out")[12, 12] == index


@pytest.mark.parametrize(("crowd", "index"), [("ignore", 255), ("foreground", 2), ("drop", 0)])
def test_crowds_have_a_policy(tmp_path, crowd, index):
    def crowded(annotations):
        return [annotations[0], annotations[1] | {"iscrowd": 1}]

    change(tmp_path / "source", annotations=crowded)
    convert(tmp_path / "source", tmp_path / "out", crowd=crowd)
    assert mask_of(tmp_path / "out")[30, 40] == index
    about = yaml.safe_load((tmp_path / "out" / "dataset.yaml").read_text())
    assert about.get("ignore") == ([255] if crowd == "ignore" else None)


def test_images_without_annotation_are_for_the_user_to_decide(tmp_path):
    coco(tmp_path / "source")
    image(tmp_path / "source" / "images" / "b.png")
    with pytest.raises(UserError, match=r"1 of 2 images without annotation: b.png"):
        convert(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert convert(tmp_path / "source", tmp_path / "n", unannotated="negative")["images"] == 2
    assert not mask_of(tmp_path / "n", "b").any()
    assert convert(tmp_path / "source", tmp_path / "s", unannotated="skip")["images"] == 1


def test_classes_can_be_chosen_joined_and_renamed(tmp_path):
    coco(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "o", classes=["tool", "polyp"])
    assert (mask_of(tmp_path / "o") == np.array([0, 2, 1])[expected()]).all()
    convert(tmp_path / "source", tmp_path / "one", classes=["tool"])
    assert (mask_of(tmp_path / "one") == (expected() == 2)).all()
    convert(tmp_path / "source", tmp_path / "b", binary=True)
    assert (mask_of(tmp_path / "b") == (expected() > 0)).all()
    found = convert(tmp_path / "source", tmp_path / "r", rename=["tool=polyp"])
    assert found["classes"] == ["background", "polyp"]
    convert(tmp_path / "source", tmp_path / "i", ignore=["tool"])
    assert set(np.unique(mask_of(tmp_path / "i"))) == {0, 1, 255}
    with pytest.raises(UserError, match="did you mean tool"):
        convert(tmp_path / "source", tmp_path / "x", classes=["tol"])


REFUSED = {
    "missing image": ({"images": lambda e: [e[0] | {"file_name": "z.png"}]}, "z.png"),
    "unknown image": ({"annotations": lambda e: [e[0] | {"image_id": 9}]}, "image 9"),
    "another size": ({"images": lambda e: [e[0] | {"width": 99}]}, "99x48"),
    "turned size": ({"images": lambda e: [e[0] | {"width": 48, "height": 64}]}, "48x64"),
    "outside": (
        {"annotations": lambda e: [e[0] | {"segmentation": [[900, 900, 950, 900, 950, 950]]}]},
        "outside the image",
    ),
    "two points": (
        {"annotations": lambda e: [e[0] | {"segmentation": [[1, 1, 5, 5]]}]},
        "fewer than 3",
    ),
    "only a box": (
        {"annotations": lambda e: [e[0] | {"segmentation": [], "bbox": [1, 2, 3, 4]}]},
        "--boxes",
    ),
    "not a number": (
        {"annotations": lambda e: [e[0] | {"segmentation": [[float("nan"), 1, 2, 3, 4, 5]]}]},
        "nan",
    ),
    "huge run lengths": (
        {
            "annotations": lambda e: [
                e[0] | {"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}
            ]
        },
        "1000000x1000000",
    ),
    "no categories": ({"categories": lambda e: []}, "category"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line(case, tmp_path, capsys):
    changes, said = REFUSED[case]
    change(tmp_path / "source", **changes)
    code = cli.main(["data", "convert", str(tmp_path / "source"), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert said in error and error.startswith("medseg: ")
    assert not (tmp_path / "out").exists()


def test_names_reach_no_file_outside_the_source(tmp_path):
    image(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "..\\secret.png"):
        change(tmp_path / "source", images=lambda e, name=name: [e[0] | {"file_name": name}])
        with pytest.raises(UserError, match="secret"):
            convert(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{", '{"a": ' * 50_000, "\x00", '{"images": 1' + "0" * 5000 + "}"]
)
def test_json_that_cannot_be_read_is_one_line(tmp_path, content):
    image(tmp_path / "source" / "a.png")
    write(tmp_path / "source" / "a.json", content)
    for options in ({}, {"from_": "coco"}):
        with pytest.raises(UserError):
            convert(tmp_path / "source", tmp_path / "out", **options)


def test_entities_are_refused(tmp_path):
    cvat(tmp_path / "source")
    bomb = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>'
    path = tmp_path / "source" / "annotations.xml"
    path.write_text(path.read_text().replace("<annotations>", f"{bomb}<annotations>"))
    with pytest.raises(UserError, match="document type"):
        convert(tmp_path / "source", tmp_path / "out")


def test_xml_that_is_nested_deeply_does_no_harm(tmp_path):
    cvat(tmp_path / "source")
    path = tmp_path / "source" / "annotations.xml"
    deep = "<x>" * 200_000 + "</x>" * 200_000
    path.write_text(path.read_text().replace("<meta>", f"<meta>{deep}"))
    assert convert(tmp_path / "source", tmp_path / "out")["objects"] == 2


def test_a_bitmap_that_unpacks_to_anything_is_refused(tmp_path):
    supervisely(tmp_path / "source")
    path = tmp_path / "source" / "ds" / "ann" / "a.png.json"
    document = json.loads(path.read_text())
    bomb = base64.b64encode(zlib.compress(bytes(1 << 27))).decode()
    document["objects"][1]["bitmap"]["data"] = bomb
    write(path, document)
    with pytest.raises(UserError, match="unpacks"):
        convert(tmp_path / "source", tmp_path / "out")


def test_parts_stay_parts(tmp_path):
    for part in ("train", "valid", "test"):
        document = coco(tmp_path / "source" / part)
        write(tmp_path / "source" / part / "_annotations.coco.json", document)
        (tmp_path / "source" / part / "instances.json").unlink()
    convert(tmp_path / "source", tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    assert {part: len(items) for part, items in dataset.parts.items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }


def test_files_and_folders_of_cocos_own_layout(tmp_path):
    for part, points in (("train", SQUARE), ("val", OTHER)):
        document = coco(tmp_path / "x")
        document["annotations"] = [document["annotations"][0] | {"segmentation": [flat(points)]}]
        write(tmp_path / "source" / "annotations" / f"instances_{part}2017.json", document)
        image(tmp_path / "source" / f"{part}2017" / "a.png")
    convert(tmp_path / "source", tmp_path / "out")
    assert mask_of(tmp_path / "out" / "train")[10, 10] == 1
    assert mask_of(tmp_path / "out" / "validation")[30, 40] == 1


def test_two_formats_are_refused_by_name_and_from_decides(tmp_path):
    coco(tmp_path / "source")
    write(tmp_path / "source" / "labels" / "a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    with pytest.raises(UserError, match="coco or yolo"):
        convert(tmp_path / "source", tmp_path / "out")
    convert(tmp_path / "source", tmp_path / "out", from_="coco")
    command = ["data", "convert", str(tmp_path / "source"), "--from", "yolo", "--overwrite"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    with pytest.raises(UserError, match="not an empty folder"):
        convert(tmp_path / "source", tmp_path / "out", from_="coco")


def test_overwriting_never_removes_what_convert_did_not_write(tmp_path):
    coco(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "out")
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis.txt"):
        convert(tmp_path / "source", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "masks" / "a.png").exists()


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_stored_pixels_are_turned_where_the_tool_did_not(tmp_path, suffix):
    change(tmp_path / "source", images=lambda e: [e[0] | {"file_name": f"a{suffix}"}])
    path = tmp_path / "source" / "images" / f"a{suffix}"
    picture = Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    picture.getexif()[0x0112] = 6
    picture.save(path, exif=picture.getexif())
    path.with_name("a.png").unlink()
    convert(tmp_path / "source", tmp_path / "out")
    assert (mask_of(tmp_path / "out") == np.rot90(expected(), -1)).all()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".gif"])
def test_maps_with_a_table_of_colours_and_of_one_bit(tmp_path, suffix):
    index = expected().astype(np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    picture.save(tmp_path / f"map{suffix}")
    colours = {(0, 0, 0): 0, (200, 0, 0): 1, (0, 200, 0): 2}
    assert (by_colour(tmp_path / f"map{suffix}", colours) == index).all()
    Image.fromarray(index == 1).save(tmp_path / "bit.png")
    assert (by_value(tmp_path / "bit.png", {0: 0, 1: 1}) == (index == 1)).all()
