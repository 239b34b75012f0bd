"""`medseg data check` as a user types it, and what it says of the real sets."""

import json
from collections import Counter

import pytest
from plants import PLANTS, check_set, clean

from medseg.cli import main
from medseg.doctor.check import inspect_all
from medseg.doctor.collect import collect


def test_how_masks_are_read_is_told(tmp_path, capsys):
    root = clean(tmp_path / "set")
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert "masks: 0/255 in" in said and "--class-map overrules" in said
    assert main(["data", "check", str(root), "--mask-kind", "binary-01"]) == 1
    assert "masks: training refuses them: " in capsys.readouterr().out


def test_exit_codes_table_list_and_json(tmp_path, capsys):
    root = clean(tmp_path / "set")
    assert main(["data", "check", str(root)]) == 0
    assert "nothing found" in capsys.readouterr().out
    PLANTS["MS011"](root)
    assert main(["data", "check", str(root)]) == 1
    out = capsys.readouterr().out
    assert "MS011" in out and "10 images, 10 masks" in out and "2 findings of 1 kind;" in out
    assert main(["data", "check", str(root), "--list"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"{root}/masks/frame004.png: MS011 ")
    assert main(["data", "check", str(root), "--json", "--fix", str(tmp_path / "out")]) == 1
    report = json.loads(capsys.readouterr().out)
    assert {
        "images",
        "classes",
        "foreground_shares",
        "sizes",
        "mean",
        "deviation",
        "found",
        "findings",
        "fixed",
    } <= report.keys()
    assert report["found"][0]["count"] == len(report["findings"]) == 2
    assert main(["data", "check", str(root), "--ignore", "MS009, MS011"]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["SET", "--ignore", "MS0011"], "unknown code 'MS0011', did you mean MS011?"),
        (["SET", "--split", "nonsense"], "--split nonsense: unknown"),
        (["nowhere"], "--data nowhere: no such folder"),
        (["SET/images"], "expected the folders images and masks"),
        (["SET", "--fix", "SET/out"], "lies inside the data set"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, capsys, words, line):
    root = clean(tmp_path / "set")
    assert main(["data", "check", *(word.replace("SET", str(root)) for word in words)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("medseg: ") and line in error


def test_progress_counts_every_pair(tmp_path):
    calls = []
    pairs = collect(clean(tmp_path / "set")).pairs
    inspect_all(pairs, advance=lambda done, total: calls.append((done, total)), workers=2)
    assert calls == [(done, 10) for done in range(1, 11)]


def counts(folder, **options):
    report = check_set(folder, **options)
    return dict(Counter(finding["code"] for finding in report["findings"])), report


def pairs_of(report, code):
    """Names of the findings of a code, with the name of the image that their text points to."""
    return {
        (finding["name"], finding["text"].split(".")[0].rsplit("/", 1)[-1])
        for finding in report["findings"]
        if finding["code"] == code
    }


def test_etis_and_isbi(real):
    found, report = counts(real / "ETIS-LaribPolypDB-first24")
    assert found["MS013"] == 1 and pairs_of(report, "MS013") == {("22", "20")}
    found, report = counts(real / "ISBI2012-EM")
    assert found["MS008"] == 1 and "30 of 30" in report["findings"][0]["text"]


@pytest.mark.slow
def test_colondb_has_the_duplicates_its_readme_lists_and_eight_more(real):
    found, report = counts(real / "CVC-ColonDB")
    assert found["MS013"] == 34
    listed = {
        ("147", "98"),
        ("148", "99"),
        ("139", "108"),
        ("198", "183"),
        ("203", "190"),
        ("271", "264"),
        ("272", "265"),
    }
    repeated = {(str(n), str(242 + (n - 242) % 3)) for n in range(245, 264)}
    more = {("289", "276"), *((str(n), str(n - 20)) for n in range(294, 301))}
    assert pairs_of(report, "MS013") == listed | repeated | more
    assert counts(real / "CVC-ColonDB", split="endoscene-patient-disjoint")[0].get("MS014", 0) == 0


@pytest.mark.slow
def test_clinicdb_masks_hold_other_values(real):
    found, report = counts(real / "CVC-ClinicDB", split="pranet-550-62")
    assert found["MS005"] == 138 and "MS013" not in found and "MS014" not in found
    assert report["classes"][1]["masks"] == 612


@pytest.mark.slow
def test_kvasir_masks_are_jpeg(real):
    found, report = counts(real / "Kvasir-SEG")
    assert found["MS006"] == 1000 and report["sizes"]["distinct"] == 333
    assert report["sizes"]["width"][::2] == [332, 1920] and report["sizes"]["height"][::2] == [
        352,
        1072,
    ]
