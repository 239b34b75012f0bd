"""Templates are strict and escape; markup is in templates, and in one module of SVG elements."""

import re
from pathlib import Path

import jinja2
import pytest

import medseg
from medseg.reports.page import TEMPLATES, render
from medseg.reports.tables import Cell, number, table

ROOT = Path(medseg.__file__).parent
PAGES = ("evaluation.html", "comparison.html", "leaks.html", "search.html")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_its_values_is_refused(name):
    with pytest.raises(jinja2.UndefinedError):
        render(name, title="no more than a title")


def test_every_template_and_the_stylesheet_load_nothing():
    files = [*TEMPLATES.glob("*.html"), *TEMPLATES.glob("*.css")]
    assert len(files) == 7
    for file in files:
        text = file.read_text()
        assert not re.search(r"<script|<link|@import|url\(|https?:|\|safe", text), file.name


def test_no_markup_in_python():
    """Outside the SVG elements, no string of the packages with pages holds a tag."""
    tag = re.compile(r"</?(?:[a-z]+)(?: [a-z]+=| class|>)")
    files = [*ROOT.glob("reports/*.py"), *ROOT.glob("*/page.py"), *ROOT.glob("evaluation/*.py")]
    assert len(files) > 20
    for file in files:
        if file.name != "svg.py":
            assert not tag.search(file.read_text()), file


def leaks_context(text):
    """All that leaks.html uses, with `text` in every place of a text."""
    return {
        "title": text,
        "leaky": True,
        "verdict": text,
        "notes": [text],
        "between": table([text], [[Cell(text, text)]]),
        "within": table([text], []),
        "words": {text: text},
        "galleries": [],
    }


@pytest.mark.parametrize("name", leaks_context("a"))
def test_a_name_that_is_missing_is_not_printed_as_nothing(name):
    context = leaks_context("a")
    render("leaks.html", **context)
    del context[name]
    with pytest.raises(jinja2.UndefinedError, match=name):
        render("leaks.html", **context)


def test_leaks_escape_every_text():
    page = render("leaks.html", **leaks_context("<b>\"'&"))
    assert "<b>" not in page and page.count("&lt;b&gt;&#34;&#39;&amp;") == 9


def test_numbers_of_a_table():
    values = {0.12345: "0.1235", 9.5: "9.5000", 395.21: "395.2", -12.0: "-12.0", 7: "7", "a": "a"}
    assert {value: number(value) for value in values} == values
    assert number(None) == number(float("nan")) == number(float("inf")) == "–"
