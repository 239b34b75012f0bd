"""What is printed on standard output."""

from medseg.console import print_table


def test_square_brackets_in_tables_are_printed_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_table("runs [bold]", [{"name_[red]": "runs/[1]/[/a]", "share": 0.5, "pixels": 12345}])
    text = capsys.readouterr().out
    for word in ("runs [bold]", "name [red]", "runs/[1]/[/a]", "0.5000", "12,345"):
        assert word in text


def test_a_missing_value_is_a_dash(capsys):
    print_table("runs", [{"name": "a", "dice": 0.25}, {"name": "b", "dice": None}])
    assert "–" in capsys.readouterr().out
