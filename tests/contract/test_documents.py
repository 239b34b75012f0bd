"""What the documents tell a reader to type exists: every command line parses, every link leads
somewhere.
"""

import re
import shlex
from pathlib import Path

import pytest

from medseg.cli import DATA, VERBS
from medseg.config import TrainConfig, arguments, make, parse

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md")]
)
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
CONFIGS = {name: verb.config for name, verb in VERBS.items() if verb is not DATA}
CONFIGS |= {f"data {name}": verb.config for name, verb in DATA.items()}


def commands(path):
    """The words after `medseg` of each command line, continuation lines joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = (
        [text]
        if path.suffix != ".md"
        else re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    )
    for line in "\n".join(blocks).splitlines():
        found = re.match(
            r"\s*(?:# |\$\(BIN\)/|torchrun .* -m )?medseg "
            rf"((?:{'|'.join(VERBS)}) ?.*)",
            line,
        )
        if found:
            yield shlex.split(
                re.split(r"\s#\s| > |$", found[1])[0]
                .replace("...", "--data x")
                .replace("$(", "")
                .rstrip("`.")
            )


LINES = [
    pytest.param(words, id=f"{path.name}: {' '.join(words)[:60]}")
    for path in [*DOCUMENTS, *RECIPES]
    for words in commands(path)
]


def test_there_are_commands():
    assert len(LINES) > 20


@pytest.mark.parametrize("words", LINES)
def test_a_command_parses(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if words[0] == "train":
        values = arguments(TrainConfig, words[1:], prog="medseg train", about="")
        if "resume" not in values:
            make(TrainConfig, {"data": "x"} | values)
        return
    verb = " ".join(words[: 2 if words[0] == "data" else 1])
    parse(CONFIGS[verb], words[len(verb.split()) :], prog=f"medseg {verb}", about="")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_recipe_is_a_config_and_says_how_to_run_it(path):
    values = arguments(TrainConfig, ["--config", str(path)], prog="medseg train", about="")
    make(TrainConfig, values)
    assert any(str(path.relative_to(ROOT)) in words for words in commands(path))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
