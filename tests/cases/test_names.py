"""Lists and tables of names as people save them: read, or one line that says what to mend."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import pairs, scene, write

from medseg.cli import main
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.groups import choose_groups, find_groups, groups_of, read_groups
from medseg.data.sources.names import Names, check_name, same_name
from medseg.data.sources.splits import read_split, read_written, write_split
from medseg.data.sources.tables import read_table, read_text
from medseg.errors import UserError

ROWS = [("name", "group"), *((f"s{i:02d}", f"p{i // 3}") for i in range(12))]
GROUPS = dict(ROWS[1:])


def lines(rows, delimiter=",", end="\n"):
    return "".join(delimiter.join(row) + end for row in rows)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    return pairs(tmp_path_factory.mktemp("names") / "twelve")


@pytest.fixture
def dataset(twelve, tmp_path):
    """A function that gives the data set a groups.csv of these bytes and opens it."""
    for folder in ("images", "masks"):
        (tmp_path / folder).symlink_to(twelve / folder)

    def opened(data):
        (tmp_path / "groups.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
        return open_dataset(tmp_path)

    return opened


TABLES = {
    "BOM": b"\xef\xbb\xbf" + lines(ROWS, end="\r\n").encode(),
    "semicolons": lines(ROWS, ";", "\r\n"),
    "tabs, UTF-16 little": lines(ROWS, "\t").encode("utf-16"),
    "UTF-16 big": b"\xfe\xff" + lines(ROWS).encode("utf-16-be"),
    "UTF-32": lines(ROWS).encode("utf-32"),
    "bars": lines(ROWS, " | "),
    "Markdown": "| name | group |\n|:--|--:|\n" + "".join(f"| {a} | {b} |\n" for a, b in ROWS[1:]),
    "a hint for Excel": "sep=;\r\n" + lines(ROWS, ";", "\r\n"),
    "quoted": lines([[f'"{cell}"' for cell in row] for row in ROWS], ", "),
    "blanks and blank lines": lines([[f" {cell} " for cell in row] for row in ROWS], ",", "\n\n"),
    "old Mac": lines(ROWS, end="\r"),
    "header in capitals": lines([("Name", "GROUP"), *ROWS[1:]]),
    "more columns": lines([("id", *ROWS[0]), *(("7", *row) for row in ROWS[1:])]),
    "trailing delimiters": lines([(*ROWS[0], ""), *((*row, "") for row in ROWS[1:])], ";"),
    "extensions": lines([ROWS[0], *((f"{name}.png", group) for name, group in ROWS[1:])]),
    "folders": lines([ROWS[0], *((f"images/{n}.PNG", group) for n, group in ROWS[1:])]),
    "back slashes": lines([ROWS[0], *((f"D:\\a\\{n}.jpg", group) for n, group in ROWS[1:])]),
    "blanks at the end": lines([(a, b + " " * (i % 2)) for i, (a, b) in enumerate(ROWS)]),
    "no-break spaces": lines([(a, "\xa0" * (i % 2) + b) for i, (a, b) in enumerate(ROWS)]),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_groups_is_read_however_it_was_saved(kind, dataset):
    assert groups_of(dataset(TABLES[kind])) == GROUPS


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lines(ROWS).replace(",p", ",Müller").encode("latin-1"), r"csv: line 2 holds .* UTF-8"),
        (lines(ROWS).encode("utf-16-le"), "no text in UTF-8; save it as UTF-8"),
        (b"\xff\xfe" + b"a", "no UTF-16; save it as UTF-8"),
        (b"", "expected the columns name and group, found nothing"),
        ("image,patient\ns00,p0\n", "found image, patient; .*--groups .*groups.csv:COLUMN"),
        (lines([*ROWS, ("s99", "p9")]), "1 of its 13 names are those of no image, s99"),
        (lines([ROWS[0], ("t0", "p0"), ("t1", "p0")]), "names none of the images; it holds t0, t1"),
        (lines([*ROWS, ("s00", "p9")]), "s00 is in the groups p0 and p9"),
        (lines([*ROWS, ("s00.png", "p9")]), "s00 is in the groups p0 and p9"),
        (lines([*ROWS, ("s00", "p9", "x")]), "line 14 has 3 cells, the header 2"),
    ],
)
def test_a_table_that_cannot_be_right_is_one_line(data, words, dataset, tmp_path, capsys):
    with pytest.raises(UserError, match=words) as error:
        dataset(data)
    assert "\n" not in str(error.value)
    assert main(["data", "check", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"\nmedseg: {error.value}\n")


def test_groups_that_differ_only_in_their_spelling_are_one_and_named(dataset):
    written = [ROWS[0], ("s00", "Hanß"), ("s01", "HANSS"), ("s02", "a  b"), ("s03", "a b")]
    written += [("s04", unicodedata.normalize("NFD", "ü")), ("s05", "ü"), ("s06", "x\u200b")]
    written += [("s09", "01"), ("s10", "1.0"), ("s11", "10")]
    found = dataset(lines([*written, ("s07", "x"), ("s08", "")]))
    groups = groups_of(found)
    assert [groups[f"s{i:02d}"] for i in range(6)] == ["Hanß"] * 2 + ["a b"] * 2 + ["ü"] * 2
    assert groups["s06"] == groups["s07"] and groups["s08"] is None
    notes = " ".join(found.notes)
    assert "the groups 'Hanß' and 'HANSS' differ only in their spelling and are taken" in notes
    assert notes.count("taken as one") == 3 and groups["s09"] == groups["s10"] != groups["s11"]
    assert "gives no group for 1 of 12 images, such as s08" in notes


def test_a_table_may_name_images_that_are_left_out(dataset, tmp_path):
    write(tmp_path / "lists" / "x.png", scene(0)[0])
    (tmp_path / "lists" / "train.txt").write_text("s00\ns01\n")
    dataset(lines(ROWS))
    part = open_dataset(tmp_path, split=str(tmp_path / "lists"))
    assert groups_of(part) == {"s00": "p0", "s01": "p0"}
    assert choose_groups(part, str(tmp_path / "groups.csv")) == part


def test_another_column_can_hold_the_groups(dataset, tmp_path):
    found, table = dataset(lines(ROWS)), tmp_path / "sequences.csv"
    table.write_text("frame;sequence;name of the camera\n" + lines([(*r, "c") for r in ROWS], ";"))
    table.write_text(table.read_text().replace("name;group;c\n", ""))
    assert groups_of(choose_groups(found, f"{table}:Sequence")) == GROUPS
    with pytest.raises(UserError, match="found frame, sequence, name of the camera; rename them"):
        choose_groups(found, f"{table}:patient")
    with pytest.raises(UserError, match=r"no such file; .*FILE:COLUMN"):
        choose_groups(found, f"{table}x:patient")


def test_tables_of_parts_and_of_the_whole_set(tmp_path):
    for part in ("train", "val", "test"):
        pairs(tmp_path / part, 2)  # the same names in each part
    (tmp_path / "train" / "groups.csv").write_text("name,group\ns00,a\ns01,a\ntest/s00,c\n")
    (tmp_path / "val" / "groups.csv").write_text("name,group\ns00,b\n")
    found = groups_of(open_dataset(tmp_path))
    assert found["train/s00"] == found["train/s01"] == "a" and found["validation/s00"] == "b"
    assert found["test/s00"] is None  # the table of train is for train
    table = "name,group\ntest/s00,d\nvalidation/s01.png,e\ntest/s01,\n"
    (tmp_path / "groups.csv").write_text(table)
    found = open_dataset(tmp_path)
    assert groups_of(found)["test/s00"] == "d" and groups_of(found)["validation/s01"] == "e"
    assert any("no group for 1 of 6 images, such as test/s01" in note for note in found.notes)
    (tmp_path / "groups.csv").write_text("name,group\ns00,everywhere\ns07,x\n")
    with pytest.raises(UserError, match="1 of its 2 names are those of no image, s07"):
        open_dataset(tmp_path)
    assert main(["data", "check", str(tmp_path)]) == 2
    (tmp_path / "groups.csv").write_text(table)
    assert main(["data", "check", str(tmp_path), "--ignore", "MS013,MS014"]) == 0


NAMES = {
    "TIF": [f"slide{i:02d}.tif" for i in range(12)],
    "HASH": [f"#{i:02d}" for i in range(12)],
    "odd": ['"a"', '"', " b", "c ", "# d", "#", "e,f", "g;h", "i.png.jpg", "j\\k", "l m", "n|o"],
    "both": ["a", "a.tif", "a.tif.png", "b", "b.jpg", "#a", "#b", "ü", "x.y", "z", "-", "é.tif"],
}


@pytest.mark.parametrize("kind", NAMES)
def test_what_medseg_writes_it_can_read(kind, tmp_path, capsys):
    data, folds = pairs(tmp_path / "set", names=NAMES[kind]), tmp_path / "folds"
    rows = [
        ("name", "group"),
        *((f'"{n.replace(chr(34), chr(34) * 2)}"', "g") for n in NAMES[kind]),
    ]
    (data / "groups.csv").write_text(lines(rows))
    options = ["--scheme", "random-kfold", "--folds", "3", "--out", str(folds)]
    assert main(["data", "split", str(data), *options]) == 0, capsys.readouterr().err
    fold = next(folds.glob("*fold1"))
    dataset = open_dataset(data, split=str(fold))
    names = [item.name for items in dataset.parts.values() for item in items]
    assert sorted(names) == sorted(map(same_name, NAMES[kind]))
    assert all(item.group == "g" for items in dataset.parts.values() for item in items)
    assert read_split(fold) == {p: [i.name for i in items] for p, items in dataset.parts.items()}
    for part, items in dataset.parts.items():
        names = [item.name for item in items]
        assert read_written(fold / f"{part}.txt") == names
        # lists of earlier versions had no quotes
        (fold / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        assert set(names) - set(read_written(fold / f"{part}.txt")) <= {'"a"'}
    assert open_dataset(data, split=str(fold)).parts == dataset.parts


printable = st.text(st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters="/"))
names = st.lists(printable.filter(bool).map(same_name), min_size=1, max_size=8, unique=True)


@given(names, st.sampled_from(["", "train/", "a b/"]))
def test_any_name_is_found_again(tmp_path_factory, names, folder):
    lists = tmp_path_factory.mktemp("lists")
    names = [folder + name for name in names]
    write_split(lists, {"train": names})
    assert read_split(lists) == read_split(lists, [*names, "other"]) == {"train": names}
    assert read_written(lists / "train.txt") == names


def listed(tmp_path, data, images):
    (tmp_path / "train.txt").write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_split(tmp_path, images)["train"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfs00\r\ns01\r\n", ["s00", "s01"]),
        ("s00\ns01\n".encode("utf-16"), ["s00", "s01"]),
        ("# mine\n\n  s00.jpg \n#s01\n", ["s00"]),
        ("#7\n# 7\n#7.png\n", ["#7"]),
        ("images\\s00.png\n", ["s00"]),
        ("images/s00.png masks/s01.png\n", ["s00"]),
        ("images/s00.png, masks/p1.png\n", ["s00"]),
        ("s00;1\ns01;\n", ["s00", "s01"]),
        ('"s00.png","s01.png"\n"s01"\n', ["s00", "s01"]),
        ("a b.png\na b c.png\n", ["a b", "a b c"]),
        ("slide.tif\nslide.tif.png\n", ["slide.tif"]),
        ("slide\nslide.tif\n", ["slide", "slide.tif"]),
        (unicodedata.normalize("NFD", "Möller.png\n"), ["Möller"]),
        ("/home/a/train/x\ntest/x\n", ["train/x", "test/x"]),
        ("y\n", ["test/y"]),
        ("s77\n", ["s77"]),
    ],
)
def test_lines_of_lists(data, expected, tmp_path):
    images = ["s00", "s01", "#7", "a b", "a b c", "slide", "slide.tif", "Möller", "b", "c"]
    images += ["train/x", "test/x", "test/y"]
    if expected == ["slide.tif"]:
        with pytest.raises(UserError, match="already"):
            listed(tmp_path, data, images)
    else:
        duplicates = "#7.png" in str(data)
        data = data.replace("#7.png\n", "") if duplicates else data
        assert listed(tmp_path, data, images) == expected


def test_an_entry_of_several_images_or_of_none(tmp_path):
    with pytest.raises(UserError, match=r"x stands for 2 images: train/x, test/x"):
        listed(tmp_path, "x\n", ["train/x", "test/x"])
    with pytest.raises(UserError, match=r"train\.txt: line 2 holds bytes that are no UTF-8"):
        listed(tmp_path, b"a\n\xfc\n", ["a"])
    assert Names(["p1/x"]).find("p2/x") == [] and Names(["x"]).find("p2/x") == ["x"]


def test_composed_and_decomposed_names_are_the_same(tmp_path):
    composed = [unicodedata.normalize("NFC", f"Möller_{i:02d}") for i in range(12)]
    pairs(tmp_path, names=composed)
    for name in composed:
        mask = tmp_path / "masks" / f"{name}.png"
        mask.rename(mask.with_name(unicodedata.normalize("NFD", mask.name)))
    decomposed = [unicodedata.normalize("NFD", name) for name in composed]
    (tmp_path / "groups.csv").write_text(
        lines([("name", "group"), *((n, "g") for n in decomposed)])
    )
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("\n".join(decomposed))
    items = open_dataset(tmp_path, split=str(tmp_path / "lists")).parts["train"]
    assert [item.name for item in items] == composed and all(item.group for item in items)
    assert main(["data", "check", str(tmp_path)]) == 0
    write(tmp_path / "images" / f"{decomposed[0]}.png", scene(0)[0])
    with pytest.raises(UserError, match="has the same name"):
        open_dataset(tmp_path)


def test_references_and_predictions_by_names_in_any_form(tmp_path):
    from medseg.config import EvaluateConfig, make
    from medseg.evaluation.predictions import evaluate_predictions

    truth, maps = tmp_path / "truth" / "masks", tmp_path / "maps"
    for i in range(3):
        mask = scene(i)[1] * 255
        write(truth / f"{unicodedata.normalize('NFC', f'é{i}')}.png", mask)
        write(maps / f"{unicodedata.normalize('NFD', f'é{i}')}.png", mask)
    (truth.parent / "groups.csv").write_text("\ufeffName;Group\né0.png;a\né1;a \né2;b\n")
    values = {"run": str(maps), "references": str(truth), "out": str(tmp_path / "out")}
    found, _ = evaluate_predictions(make(EvaluateConfig, values))
    assert [row["group"] for row in found.rows] == ["a", "a", "b"]
    assert [row["dice"] for row in found.rows] == [1, 1, 1]


def test_a_repaired_copy_keeps_the_lines_of_its_images(tmp_path):
    pairs(tmp_path / "set", 4)
    (tmp_path / "set" / "masks" / "s03.png").unlink()
    (tmp_path / "set" / "groups.csv").write_text(lines(ROWS[:5], ";"))
    assert main(["data", "check", str(tmp_path / "set"), "--fix", str(tmp_path / "out")]) == 1
    assert read_groups(tmp_path / "out" / "groups.csv") == {"s00": "p0", "s01": "p0", "s02": "p0"}
    assert groups_of(open_dataset(tmp_path / "out")) == {"s00": "p0", "s01": "p0", "s02": "p0"}


@pytest.mark.parametrize("name", ["M\udcfcller", "a\nb", "a\x1b[31mb", "a\u2028b"])
def test_names_that_no_list_can_hold_are_one_line(name, tmp_path):
    with pytest.raises(UserError, match="give the file or folder another name") as error:
        check_name(tmp_path / name)
    assert str(error.value).isprintable() and str(error.value).encode()


def test_texts_and_tables_that_are_not_there(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_text(path)
    (tmp_path / "a.csv").write_text('a;"b;c"\n"d""e";"f\ng"\n;\n')
    assert read_table(tmp_path / "a.csv") == [["a", "b;c"], ['d"e', "f\ng"]]
    (tmp_path / "b.csv").write_text("model;dice, mean;iou, mean\nA;0,91;0,85\n")
    assert read_table(tmp_path / "b.csv")[1] == ["A", "0,91", "0,85"]


def test_find_groups_reads_one_column_of_many(dataset, tmp_path):
    items = [item for part in dataset(lines(ROWS)).parts.values() for item in part]
    (tmp_path / "t.csv").write_text("name,centre\ns00,C1\n")
    assert find_groups(tmp_path / "t.csv", items, column="Centre") == {"s00": "C1"}


def test_a_table_of_results_saved_by_a_spreadsheet(tmp_path):
    from medseg.evaluation.rows import read_rows

    text = "name;group;dice\n" + unicodedata.normalize("NFD", "é") + ";a;0.5\n001;;\n"
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    first, second = read_rows(tmp_path / "t.csv")
    assert first == {"name": "é", "group": "a", "dice": 0.5}
    assert second["name"] == "001" and second["group"] is None and second["dice"] != second["dice"]
    (tmp_path / "t.csv").write_bytes(b"name,dice\n\xe9,0.5\n")
    with pytest.raises(UserError, match="line 2 holds bytes that are no UTF-8"):
        read_rows(tmp_path / "t.csv")
