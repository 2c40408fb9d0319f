"""The shape of the package: which of its parts may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import locality
from locality.kinds import KINDS

ROOT = Path(locality.__file__).parent
#: What all kinds of measurement share, and so may know none of them.
SHARED = ("recording", "reporting", "dashboard", "machine", "bpf", "cbpf")
KIND_FOLDERS = {*KINDS, "spread"}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imports(name: str, tree: ast.AST, *, at_once: bool = False) -> set[str]:
    """The modules of the package that a module imports.

    Args:
        name: The module's own name.
        tree: Its text.
        at_once: Only those imported when the module itself is: not for types, not in functions.
    """
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif at_once and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ):
            continue
        else:
            found |= imports(name, node, at_once=at_once)
    return {one for one in found if one in MODULES and one != name}


# Bug: what all kinds share learns of one of them, so that the next kind has to be added there, too.
def test_what_is_shared_knows_no_kind() -> None:
    upwards = {
        (name, target)
        for name, tree in MODULES.items()
        if name.split(".")[1:2] and name.split(".")[1] in SHARED
        for target in imports(name, tree)
        if target.split(".")[1:2] and target.split(".")[1] in KIND_FOLDERS
    }
    assert upwards == set()


# Bug: two modules need each other to be imported, and which one a user imports first decides
# whether that works.
def test_no_imports_in_a_circle() -> None:
    arrows = {name: imports(name, tree, at_once=True) for name, tree in MODULES.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name in done:
            return
        for target in sorted(arrows[name]):
            walk(target, (*way, name))
        done.add(name)

    for name in sorted(arrows):
        walk(name, ())


# Bug: what is new goes to the top of the package, where nobody looks for it by subject.
def test_few_modules_stand_at_the_top() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 14
