"""Imports point down and never in a circle: project, users, feature_flags and notifications, lib."""

import re

import pytest

from project.tests import structure

MAY_IMPORT = {
    "lib": set(),
    "feature_flags": {"lib"},
    "notifications": {"lib"},
    "users": {"lib", "feature_flags", "notifications"},
    "project": {"lib", "feature_flags", "notifications", "users"},
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package):
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in structure.files().items()
        if module.partition(".")[0] == package
        for name, line in structure.imports(path.read_text())
        if (other := name.partition(".")[0]) in MAY_IMPORT and other != package and other not in MAY_IMPORT[package]
    ]

    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    assert structure.circles(structure.graph()) == []


def test_late_imports_count_and_those_of_type_checkers_do_not():
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import project\ndef f():\n    from users import api\n"
    )

    assert structure.imports(source) == [("typing.TYPE_CHECKING", 1), ("users.api", 5)]


def test_a_circle_is_found():
    assert structure.circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_the_page_on_the_architecture_names_files_that_exist():
    page = (structure.ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:lib|project|users|feature_flags|notifications|docs)/[\w/.]+)`", page))

    assert [name for name in sorted(named) if not (structure.ROOT / name).exists()] == []
