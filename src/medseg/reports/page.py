"""HTML pages from the templates beside this file.

A page is one file: it loads nothing, runs no script, prints, and follows the reader's light or dark
scheme. Everything that a template inserts is escaped; charts are the only markup made in Python.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medseg.reports.tables import number
from medseg.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **context: Any) -> str:
    """The page of a template, such as "leaks.html", filled with `context`.

    Raises `jinja2.UndefinedError` for a name that the template uses and the context lacks. The
    version in the footer is this one's unless `version` is given.
    """
    context = {"version": __version__, "today": date.today().isoformat()} | context
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    environment.globals["style"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment
