"""Imports point one way: a package knows only those before it in this list."""

import ast
import subprocess
import sys
from pathlib import Path

import medseg

ROOT = Path(medseg.__file__).parent
LAYERS = [
    {"errors", "version"},
    {"config", "files", "console", "hardware", "preprocessing"},
    {"environment", "data", "models", "losses", "metrics", "statistics"},
    {"augment", "runs", "doctor"},
    {"inference"},
    {"evaluation", "distill"},
    {"reports"},
    {"comparison", "leaks", "training"},
    {"search", "bench"},
    {"cli", "__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def room(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "medseg":
                yield from (f"medseg.{alias.name}" for alias in node.names)


def test_every_module_has_a_level():
    assert {room(path) for path in ROOT.rglob("*.py")} == LEVEL.keys()


def test_arrows_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        if LEVEL[room(path)] == len(LAYERS) - 1:
            continue
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "medseg" and len(parts) > 1 and parts[1] in LEVEL:
                same = parts[1] == room(path)
                if (
                    not same
                    and LEVEL[parts[1]] >= LEVEL[room(path)]
                    and parts[1] not in ("files", "errors")
                ):
                    wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_importing_medseg_and_its_configs_is_light():
    code = (
        "import sys, medseg, medseg.config, medseg.cli; assert not {'torch', 'cv2', 'numpy'} &"
        " sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
