"""Imports point down: project, users, feature_flags and notifications, lib."""

import ast
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
MAY_IMPORT = {
    "lib": set(),
    "feature_flags": {"lib"},
    "notifications": {"lib"},
    "users": {"lib", "feature_flags", "notifications"},
    "project": {"lib", "feature_flags", "notifications", "users"},
}


def run_time_imports(source):
    """The top-level packages a module imports, those under TYPE_CHECKING aside."""
    found = []

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node):
            if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                for child in node.orelse:
                    self.visit(child)
            else:
                self.generic_visit(node)

        def visit_Import(self, node):
            found.extend((alias.name.split(".")[0], node.lineno) for alias in node.names)

        def visit_ImportFrom(self, node):
            if node.module and not node.level:
                found.append((node.module.split(".")[0], node.lineno))

    Visitor().visit(ast.parse(source))
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_arrow_turns_round(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in (ROOT / room).rglob("*.py")
        if "tests" not in path.parts
        for package, line in run_time_imports(path.read_text())
        if package in MAY_IMPORT and package != room and package not in MAY_IMPORT[room]
    ]

    assert wrong == []


def test_an_arrow_that_turns_round_is_seen():
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import project\ndef f():\n    from users import api\n"
    )

    assert run_time_imports(source) == [("typing", 1), ("users", 5)]
