"""`make refusals`: which refusals each operation of the API can answer, read from the code that it reaches: every
`ProductError` is raised by its name. Written to project/refusals.json, of which the OpenAPI document is made; a test
fails where that is not what the code raises."""

from __future__ import annotations

import ast
import dis
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import import_module
from textwrap import dedent
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ninja.operation import Operation

from lib.errors import ProductError
from lib.private import operations_of
from project.api import STAFF, api
from project.openapi import Refusal
from release import history
from users.api.auth import ApiKey, BearerAuth

_APPS = ("users", "feature_flags", "notifications", "lib", "project")
#: What runs after the commit: it answers no one.
_APART = "notifications.engine"
_CODE = re.compile("[A-Z][A-Z0-9_]+")
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")


TABLE = history.ROOT / "project" / "refusals.json"


def table() -> str:
    """What project/refusals.json has to hold: a line for each refusal, and for each operation."""
    apis = (api, import_module(STAFF).api)
    found = {
        each.operation_id or own.get_openapi_operation_id(each): _of_operation(each)
        for own in apis
        for each in operations_of(own)
        if each.include_in_schema
    }
    names: dict[Refusal, str] = {}
    for refusal in sorted({each for refusals in found.values() for each in refusals}):
        same = [each for each in names if each.slug == refusal.slug]
        names[refusal] = f"{refusal.slug}{len(same) + 1 if same else ''}"
    refusals = {name: refusal._asdict() for refusal, name in names.items()}
    operations = {operation: [names[each] for each in found[operation]] for operation in sorted(found)}
    return f'{{"refusals": {_lines(refusals)},\n"operations": {_lines(operations)}}}\n'


def write() -> None:
    TABLE.write_text(table(), encoding="utf-8")


def _lines(members: dict[str, Any]) -> str:
    lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in members.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _of_operation(operation: Operation) -> list[Refusal]:
    asked = [each for each in operation.auth_callbacks if isinstance(each, BearerAuth)]
    keys = [each for each in asked if isinstance(each, ApiKey)]
    roots = [operation.view_func, *(each.find for each in asked), *(each.__call__ for each in asked if each.counts)]
    left_out = {"key_not_accepted"} if keys else set()
    if not any(key.scope for key in keys):
        left_out.add("scope_missing")
    if operation.methods == ["GET"]:
        left_out |= {"csrf_origin", "idempotency_key_invalid", "idempotency_key_reused"}
    return [each for each in of(*roots) if each.slug not in left_out]


def of(*roots: Callable[..., Any]) -> list[Refusal]:
    """What those functions, and all that they call, raise; by status and slug."""
    found = {raised for function in _reached(roots) for raised in _raised(function)}
    by_slug = {(each.status, each.slug): each for each in sorted(found, key=lambda each: each.message)}
    return [by_slug[key] for key in sorted(by_slug)]


# --- Which functions are reached --------------------------------------------------------------------------------------


def _reached(roots: tuple[Any, ...]) -> set[FunctionType]:
    waiting, seen = [each for root in roots for each in _functions(root)], set[FunctionType]()
    while waiting:
        function = waiting.pop()
        if function not in seen:
            seen.add(function)
            waiting += _called(function)
    return seen


def _functions(value: Any) -> list[FunctionType]:
    """Those of ours in a value that may be called: wrapped, bound, with some arguments given, of a button, or all that
    the objects of a service can."""
    if isinstance(value, FunctionType):
        return [value] if value.__module__.split(".")[0] in _APPS and value.__module__ != _APART else []
    if isinstance(value, partial):
        return [each for part in (value.func, *value.args, *value.keywords.values()) for each in _functions(part)]
    if isinstance(value, type) and ".services." in value.__module__:
        return [each for each in vars(value).values() if isinstance(each, FunctionType)]
    if isinstance(value, type | ModuleType):
        return []
    inner = next(
        (getattr(value, name) for name in ("run", "__func__", "__wrapped__", "func") if hasattr(value, name)), None
    )
    return _functions(inner) if callable(inner) else []


@cache
def _called(function: FunctionType) -> list[FunctionType]:
    """What the body of a function names, or closes over."""
    values = [getattr(function, "__wrapped__", None)]
    closed = inspect.getclosurevars(function).nonlocals
    values += closed.values()
    for code in _bodies(function.__code__):
        values += _named(code, {**function.__globals__, **closed}, _typed(function))
    return [each for value in values for each in _functions(value)]


def _bodies(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _bodies(inner)


def _named(code: CodeType, names: dict[str, Any], typed: dict[str, Any]) -> Iterator[Any]:
    """`verb`, `service.verb` and, of a parameter, `given.verb`."""
    known = dict(typed)
    imported, value = None, None
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            imported = import_module(step.argval) if step.argval.partition(".")[0] in _APPS else None
        elif step.opname == "IMPORT_FROM":
            if imported is not None and not hasattr(imported, step.argval):
                import_module(f"{imported.__name__}.{step.argval}")
            known[step.argval] = getattr(imported, step.argval, None)
        elif loaded := _loaded(step.opname, step.argval):
            for name in loaded:
                value = known.get(name, names.get(name) if step.opname in _LOADS else None)
                yield value
        elif step.opname in {"LOAD_ATTR", "LOAD_METHOD"}:
            owner = value if isinstance(value, ModuleType | type) else type(value)
            is_known = isinstance(value, ModuleType) or owner.__module__.split(".")[0] in _APPS
            value = getattr(owner, step.argval, None) if is_known else None
            yield value


def _loaded(opname: str, argval: Any) -> tuple[str, ...]:
    """The names that a step of bytecode loads, the last of them on top: `LOAD_FAST_BORROW` (Python 3.14) is one of a
    local name as well, `LOAD_FAST_LOAD_FAST` (3.13) two of them."""
    if opname not in _LOADS and "LOAD_FAST" not in opname:
        return ()
    return argval if isinstance(argval, tuple) else (argval,)


def _typed(function: FunctionType) -> dict[str, Any]:
    """The classes of its parameters, as far as they can be read."""
    owner = function.__globals__.get(function.__qualname__.partition(".")[0])
    try:
        annotated = inspect.get_annotations(function, eval_str=True)
    except (NameError, TypeError):  # named for the type checker alone
        annotated = {}
    return {"self": owner, "cls": owner, **annotated}


# --- What a function raises -------------------------------------------------------------------------------------------


@cache
def _raised(function: FunctionType) -> list[Refusal]:
    """The refusals that are made in it by their names, or by what makes one of a name it is given."""
    # Most do not, which shows at a tenth of what reading them takes.
    may_make = _makes_some(function) or (_holds_codes(function) and any(map(_makes_some, _called(function))))
    return [made for call in (_calls(function) if may_make else ()) for made in _made(call, function)]


@cache
def _makes_some(function: FunctionType) -> bool:
    names = {name for code in _bodies(function.__code__) for name in code.co_names}
    return any(_is_refusal(function.__globals__.get(name)) for name in names)


def _holds_codes(function: FunctionType) -> bool:
    bodies = list(_bodies(function.__code__))
    named = (function.__globals__.get(name) for code in bodies for name in code.co_names)
    texts = (*named, *(each for code in bodies for each in code.co_consts))
    return any(isinstance(text, str) and _CODE.fullmatch(text) for text in texts)


def _is_refusal(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, ProductError)


@cache
def _nodes(function: FunctionType) -> list[ast.AST]:
    try:
        return list(ast.walk(ast.parse(dedent(inspect.getsource(function)))))
    except (OSError, SyntaxError):  # made at run time, or a lambda amid a line
        return []


def _calls(function: FunctionType) -> list[ast.Call]:
    return [node for node in _nodes(function) if isinstance(node, ast.Call)]


def _made(call: ast.Call, function: FunctionType) -> list[Refusal]:
    maker = _value(call.func, function)
    if maker is ProductError:
        return [_refusal(code, call, function) for code in _codes(call.args[0], function)]
    if _is_refusal(maker):
        # One with a name of its own: its code stands in `super().__init__(…)`.
        begun = next(each for each in _calls(maker.__init__) if ast.unparse(each.func) == "super().__init__")
        return [_refusal(code, begun, maker.__init__) for code in _codes(begun.args[0], maker.__init__)]
    if not (isinstance(maker, FunctionType) and _functions(maker) and (found := _by_parameter(maker))):
        return []
    inner, name = found
    parameters = inspect.signature(maker).parameters
    given = dict(zip(parameters, call.args, strict=False)) | {
        each.arg: each.value for each in call.keywords if each.arg
    }
    codes = _codes(given[name], function) if name in given else [parameters[name].default]
    return [_refusal(code, inner, maker, call.args) for code in codes if isinstance(code, str) and code]


@cache
def _by_parameter(maker: FunctionType) -> tuple[ast.Call, str] | None:
    """The refusal that a function makes of a code that it is given, and the name of that parameter."""
    for call in _calls(maker):
        first = call.args[0] if call.args and _value(call.func, maker) is ProductError else None
        if isinstance(first, ast.Name) and first.id in inspect.signature(maker).parameters:
            return call, first.id
    return None


def _codes(node: ast.expr, function: FunctionType) -> list[str]:
    """A text; of a local name those that it is set to."""
    if isinstance(found := _value(node, function), str):
        return [found]
    set_to = _set_to(node, function) if isinstance(node, ast.Name) else []
    texts = [each.value for value in set_to for each in ast.walk(value) if isinstance(each, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and _CODE.fullmatch(text)]


def _set_to(name: ast.Name, function: FunctionType) -> list[ast.expr]:
    assigned = [each for each in _nodes(function) if isinstance(each, ast.Assign)]
    return [
        each.value
        for each in assigned
        if name.id in {part.id for part in ast.walk(each.targets[0]) if isinstance(part, ast.Name)}
    ]


def _refusal(code: str, call: ast.Call, function: FunctionType, given: Sequence[ast.expr] = ()) -> Refusal:
    keywords = {each.arg: each.value for each in call.keywords}
    sentences = (_sentence(each, function) for each in (call.args[1], *given[1:]))
    message = next(filter(None, sentences), "")
    detail = _value(keywords.get("detail"), function) or f"ErrorCode.{code}"
    if "reason" in keywords or "nested" in keywords:
        detail = {"code": f"ErrorCode.{code}"} | ({"reason": message} if "reason" in keywords else {})
    slug = _value(keywords.get("slug"), function) or code.lower()
    return Refusal(slug, _value(keywords.get("status"), function) or 400, json.dumps(detail), message)


def _value(node: ast.expr | None, function: FunctionType) -> Any:
    """What a constant, or a name of the module, stands for; None for all else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return function.__globals__.get(node.id)
    return getattr(_value(node.value, function), node.attr, None) if isinstance(node, ast.Attribute) else None


def _sentence(node: ast.expr, function: FunctionType) -> str:
    if isinstance(node, ast.Call) and node.args:
        return _sentence(node.args[0], function)
    if isinstance(node, ast.BinOp):
        return re.sub(r"%(\(\w+\))?[sd]", "…", _sentence(node.left, function))
    if isinstance(node, ast.Name):
        return next((_sentence(each, function) for each in _set_to(node, function)), "")
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values)
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
