"""Tables as papers and spreadsheets print them: the mean counts, what cannot be read is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.cli import main
from medseg.comparison.cells import values
from medseg.comparison.lint import lint
from medseg.errors import UserError

CELLS = """0.91±0.02|0.91 ± 0.02|0.91+-0.02|0.91 +/- 0.02|0.91 +/− .02|0.91 (0.02)|0.91(±0.02)
(0.91)|0.91 [0.89, 0.93]|**0.91**|*0.91*|__0.91__|_0.91_|**0.91** (0.02)|**0.91±0.02**|`0.91`
<b>0.91</b>|<u>0.91</u><sup>2</sup>|\\textbf{0.91}|\\underline{0.91}|$0.91$|$0.91 \\pm 0.02$
$\\mathbf{0.91}$
\\textbf{0.91 $\\pm$ 0.02}|$0.91_{\\pm 0.02}$|0.91$^{\\dagger}$|0.91^*|$\\bf 0.91$
{\\color{red}0.91}|\\textcolor{blue}{0.91}|\\cellcolor[gray]{.9} 0.91
0.91†|0.91*|0.91‡ |0.91¹|0.91 ↑|\u20090.91\xa0
0,91|0,91 ± 0,02|0,91 (0,02)|0·91|.91|0.91&nbsp;|0.91 &plusmn; 0.02|\u200b0.91
0.91 (95 % CI 0.8–1)"""


@pytest.mark.parametrize("cell", CELLS.replace("\n", "|").split("|"))
def test_the_mean_of_a_cell_counts(cell):
    assert values(cell) == [(0.91, pytest.approx(0.01))], cell


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("91.2", [91.2]),
        ("91.20 %", [91.2]),
        ("91,2 \\%", [91.2]),
        ("**91.2**%", [91.2]),
        ("91.2% ± 0.3%", [91.2]),
        ("0.91±0.02/0.95±0.01", [0.91, 0.95]),
        ("0,91 / 0,95", [0.91, 0.95]),
        ("1", [1]),
        ("1.", [1]),
        *((cell, []) for cell in ("", "-", "n.a.", "high", "0.9l", "0.91 0.95", "1.2.3", "-0.1")),
        *((cell, []) for cell in ("0.91/", "±0.02", "0.91 to 0.95", ".", "91\\tiny{2}")),
    ],
)
def test_percent_several_values_and_none(cell, expected):
    assert [value for value, _ in values(cell)] == expected


@given(
    st.decimals(0, 1, places=4).map(str),
    st.sampled_from(["{}", "**{}**", "\\textbf{{{}}}", "{}†", "<b>{}</b>", "${}$", " {} "]),
    st.sampled_from(["", " ± 0.02", "±.1", " (0.02)", " [0.1, 0.2]", "+-0.001"]),
    st.booleans(),
)
def test_any_number_in_any_dress(number, dress, deviation, comma):
    text = dress.format(number + deviation)
    text = text if not comma or "[" in deviation else text.replace(".", ",")
    assert values(text) == [(float(number), pytest.approx(1e-4))]


TABLES = {
    "as papers print": "model,kvasir_dice,kvasir_iou\nA,0.91±0.02,0.85±0.03\nB,**0.92**,**0.86**\n"
    "C,0.91 (0.02),0.85 (0.03)\n",
    "semicolons, decimal commas": "model;kvasir_dice;kvasir_iou\nA;0,91;0,85\nB;0,92;0,86\nC;0,91;"
    "0,85\n",
    "quoted decimal commas": 'model,kvasir_dice,kvasir_iou\nA,"0,91","0,85"\nB,"0,92","0,86"\n'
    'C,"0,91","0,85"\n',
    "tabs": "model\tkvasir_dice\tkvasir_iou\nA\t0,91\t0.85\nB\t0.92\t0.86\nC\t.91\t.85\n",
    "Markdown": "| **model** | kvasir Dice ↑ | kvasir IoU ↑ |\n|---|:-:|:-:|\n| A | 0.91 | 0.85 |\n"
    "| B | **0.92** | <u>0.86</u> |\n| C | 0.91 | 0.85 |\n",
    "words of the metrics": "model,kvasir Dice coefficient,kvasir Jaccard index\nA,.91,.85\n"
    "B,.92,.86\nC,.91,.85\n",
    "columns of deviations": "model,kvasir_dice,dice_kvasir_std,kvasir_iou,kvasir_iou_std\n"
    "A,.91,.02,.85,.03\nB,.92,.02,.86,.02\nC,.91,.1,.85,.1\n",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_they_are_published(kind, encoding, tmp_path):
    (tmp_path / "t.csv").write_bytes(TABLES[kind].encode(encoding))
    found = lint(tmp_path / "t.csv")
    assert [(row["row"], row["dice"], row["iou"]) for row in found["rows"]] == [
        ("A kvasir", 0.91, 0.85),
        ("B kvasir", 0.92, 0.86),
        ("C kvasir", 0.91, 0.85),
    ]
    assert found["unread"] == [] and found["skipped"] == 0


COLUMNS = ["dice", "dice", "iou", "dice", "iou"]


def test_what_cannot_be_read_is_named(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("model,dice,iou\nA,.9,.83\nB,0.9l,.8\nC,-,.8\nD,.9/.8,.7\nE [x],high,?\n")
    assert main(["lint", str(path)]) == 0
    out = capsys.readouterr().out
    assert "no numbers: 4 pairs" in out and "could not be read: '0.9l' (B, dice)" in out
    assert "'high' (E [x], dice)" in out and "'?' (E [x], iou)" in out and "(C," not in out
    assert [each["column"] for each in lint(path)["unread"]] == COLUMNS
    path.write_text("model,dice,iou\nA,high,low\n")
    with pytest.raises(UserError, match=r"no row has a number for both .* first cell is 'high'"):
        lint(path)
    path.write_bytes("model,dice,iou\nMüller,.9,.8\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 2 holds bytes that are no UTF-8; save it as UTF-8"):
        lint(path)
