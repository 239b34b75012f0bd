"""Imports point one way: down the layers, and no modules form a circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medseg

ROOT = Path(medseg.__file__).parent
LAYERS = [
    {"errors", "version"},
    {"config", "files", "console", "hardware", "preprocessing"},
    {"environment", "data", "models", "losses", "metrics", "statistics"},
    {"annotations", "augment", "runs", "doctor"},
    {"inference"},
    {"evaluation", "distill"},
    {"reports"},
    {"comparison", "leaks", "training"},
    {"search", "bench", "export"},
    {"cli", "__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
WITHIN_A_LAYER = {("files", "errors"), ("environment", "version"), ("hardware", "files")}


def module_of(path: Path) -> str:
    """Such as "medseg.data.cache"; a package is its __init__.py."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def room(module: str) -> str:
    """The package or module of the first level: "data" for "medseg.data.cache"."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(source: str) -> Iterator[str]:
    """Every module of ours that a source imports, wherever in it the import stands.

    Those inside functions and under TYPE_CHECKING are arrows as well: a reader follows them too.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "medseg")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            if (node.module or "").split(".")[0] == "medseg":
                for alias in node.names:
                    longer = f"{node.module}.{alias.name}"
                    yield longer if longer in MODULES else node.module


GRAPH = {module: set(imports(path.read_text())) for module, path in MODULES.items()}


def test_every_module_has_a_level():
    assert {room(module) for module in MODULES} == LEVEL.keys()


def test_arrows_point_one_way():
    wrong = []
    for module, imported in GRAPH.items():
        if LEVEL[room(module)] == len(LAYERS) - 1:
            continue
        for other in imported:
            pair = room(module), room(other)
            upward = LEVEL[pair[1]] >= LEVEL[pair[0]]
            if pair[0] != pair[1] and upward and pair not in WITHIN_A_LAYER:
                wrong.append(f"{module} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_no_modules_form_a_circle():
    state: dict[str, str] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert state.get(module) != "open", " -> ".join((*way[way.index(module) :], module))
        if module not in state:
            state[module] = "open"
            for other in sorted(GRAPH[module]):
                visit(other, (*way, module))
            state[module] = "done"

    for module in GRAPH:
        visit(module, ())


@pytest.mark.parametrize(
    "source",
    [
        "import medseg",
        "import medseg.cli",
        "import medseg.cli as c",
        "from medseg import cli",
        "from medseg.cli import main",
        "def f():\n    from medseg.cli import main",
        "if TYPE_CHECKING:\n    import medseg.cli",
    ],
)
def test_every_form_of_import_is_seen(source):
    assert set(imports(source)) <= {"medseg", "medseg.cli"}
    assert len(set(imports(source))) == 1


def test_relative_imports_are_refused():
    with pytest.raises(AssertionError):
        list(imports("from . import cli"))


def test_importing_medseg_and_its_configs_is_light():
    code = (
        "import sys, medseg, medseg.config, medseg.cli;"
        " assert not {'torch', 'cv2', 'numpy'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
