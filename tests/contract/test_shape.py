"""The shape of the sources: what a reader can take in at a glance.

`python tests/contract/test_shape.py` prints the numbers.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import medseg

ROOT = Path(medseg.__file__).parent
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
WIDEST_LINE = 100
LONGEST_FILE = 400
LONG_FUNCTION, LONGEST_FUNCTION, MOST_LONG_FUNCTIONS = 50, 80, 9
MOST_PARAMETERS = 8
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function, bool]]:
    """Where each function stands, its node, and whether it is part of the public interface."""
    for path, source in SOURCES.items():
        for parent in ast.walk(ast.parse(source)):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, Function):
                    where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                    nested = isinstance(parent, Function | ast.If)
                    yield where, node, not nested and not node.name.startswith("_")


def parameters(node: Function) -> list[ast.arg]:
    """The parameters that a caller sees."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [each for each in every if each.arg not in ("self", "cls", "ctx")]


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def lines_of(source: str) -> int:
    return len(source.splitlines())


def test_no_line_is_too_wide():
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, source in SOURCES.items()
        for number, line in enumerate(source.splitlines(), 1)
        if len(line) > WIDEST_LINE
    ]
    assert not wide, "\n".join(wide)


def test_no_file_is_too_long():
    long = [
        f"{path.relative_to(ROOT)}: {lines_of(source)}"
        for path, source in SOURCES.items()
        if lines_of(source) > LONGEST_FILE
    ]
    assert not long, "\n".join(long)


def test_few_functions_are_long_and_none_very_long():
    long = [(length(node), where) for where, node, _ in functions() if length(node) > LONG_FUNCTION]
    said = "\n".join(f"{lines} {where}" for lines, where in sorted(long, reverse=True))
    assert len(long) <= MOST_LONG_FUNCTIONS, said
    assert max(long, default=(0, ""))[0] <= LONGEST_FUNCTION, said


def test_no_function_takes_too_many_parameters():
    many = [where for where, node, _ in functions() if len(parameters(node)) > MOST_PARAMETERS]
    assert not many, "\n".join(many)


def test_every_public_function_and_class_is_documented():
    bare = [where for where, node, public in functions() if public and not ast.get_docstring(node)]
    for path, source in SOURCES.items():
        for node in ast.parse(source).body:
            public = isinstance(node, ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not bare, "\n".join(bare)


def test_every_function_is_annotated():
    bare = [
        where
        for where, node, _ in functions()
        if (node.returns is None) or any(each.annotation is None for each in parameters(node))
    ]
    assert not bare, "\n".join(bare)


if __name__ == "__main__":
    found = list(functions())
    lengths = sorted((length(node) for _, node, _ in found), reverse=True)
    files = sorted(map(lines_of, SOURCES.values()))
    lines = [line for source in SOURCES.values() for line in source.splitlines()]
    public = [node for _, node, is_public in found if is_public]
    print(f"{len(files)} files, {sum(files)} lines; median {median(files):g}, longest {files[-1]}")
    print(f"lines over {WIDEST_LINE} columns: {sum(len(line) > WIDEST_LINE for line in lines)}")
    print(
        f"{len(found)} functions, longest {lengths[0]}; over {LONG_FUNCTION} lines:"
        f" {sum(each > LONG_FUNCTION for each in lengths)}, over {LONGEST_FUNCTION}:"
        f" {sum(each > LONGEST_FUNCTION for each in lengths)}"
    )
    print(f"most parameters: {max(len(parameters(node)) for _, node, _ in found)}")
    documented = sum(bool(ast.get_docstring(node)) for node in public)
    print(f"public functions documented: {documented} of {len(public)}")
