"""The house as its imports draw it: files, who imports whom at run time, and the circles among them."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: From the ground up; `users` stands on both apps of the floor below it.
FLOORS = (("lib",), ("feature_flags", "notifications"), ("users",), ("project",))
PACKAGES = [package for floor in FLOORS for package in floor]


def files():
    """`{dotted name: path}` of the product: tests and migrations aside."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if not {"tests", "migrations"} & set(path.parts)
    }


def imports(source, package=""):
    """`(dotted name, line)` of what a module imports, late imports included; those for type checkers are left out."""
    found = []

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node):
            if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
                for child in node.orelse:
                    self.visit(child)
            else:
                self.generic_visit(node)

        def visit_Import(self, node):
            found.extend((alias.name, node.lineno) for alias in node.names)

        def visit_ImportFrom(self, node):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found.extend((f"{module}.{alias.name}", node.lineno) for alias in node.names)

    Visitor().visit(ast.parse(source))
    return found


def graph():
    """`{module: modules it imports}`; a name that is no module counts for the module that holds it."""
    modules = files()

    def holder(name):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    edges = {}
    for module, path in modules.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        edges[module] = {holder(name) for name, _ in imports(path.read_text(), package)} - {"", module}
    return edges


def circles(edges):
    """The sets of modules that reach each other, each sorted (Tarjan, 1972)."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = []
            while not members or members[-1] != node:
                members.append(stack.pop())
                on_stack.discard(members[-1])
            if len(members) > 1:
                found.append(sorted(members))

    for node in edges:
        if node not in index:
            visit(node)
    return found
