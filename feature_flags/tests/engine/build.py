"""Short spellings for documents and questions."""

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import Definition, normal_context

NOON = 1_714_564_800  # 2024-05-01T12:00:00Z


def constraint(operator, value=None, field="x", **more):
    """A list becomes `values`, anything else `value`."""
    key = "values" if isinstance(value, list) else "value"
    return {"contextName": field, "operator": operator, **({} if value is None else {key: value}), **more}


def strategy(name="default", parameters=None, constraints=(), **more):
    return {"name": name, "parameters": parameters or {}, "constraints": list(constraints), **more}


def rollout(percentage, stickiness="userId", group="g", **more):
    parameters = {"rollout": str(percentage), "stickiness": stickiness, "groupId": group}
    return strategy("flexibleRollout", parameters, **more)


def variant(name, weight=1, value=None, **more):
    return {
        "name": name,
        "weight": weight,
        **({"payload": {"type": "string", "value": value}} if value else {}),
        **more,
    }


def feature(*strategies, name="flag", enabled=True, **more):
    return {"name": name, "enabled": enabled, "strategies": list(strategies), **more}


def flag(*strategies, segments=None, value_type="boolean", off_value=None, labels=(), clock=lambda: NOON, **more):
    definition = Definition(feature(*strategies, **more), value_type, off_value, labels=labels)
    return compile_flag(definition, segments or {}, clock=clock, hostname="Machine")


def ask(compiled, context=None, *others):
    return compiled.evaluate(normal_context(context or {}), {other.name: other for other in others})


def met(condition, context=None):
    """Whether a constraint is met by a context, or by the value of the field `x`."""
    context = context if isinstance(context, dict) or context is None else {"properties": {"x": context}}
    compiled = flag(strategy(constraints=[condition]))
    assert not compiled.error, compiled.error
    return ask(compiled, context).enabled


def both(condition, context=None):
    """The answer as it is and inverted."""
    return met(condition, context), met({**condition, "inverted": True}, context)


def breaks(*strategies):
    """Whether a strategy breaks its flag: off although the next one lets everybody in."""
    compiled = flag(*strategies, strategy())
    return bool(compiled.error) and not ask(compiled).enabled
