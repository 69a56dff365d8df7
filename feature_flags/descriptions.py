"""Flags in words, for people: what a history row, an import's dry run and the admin say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from feature_flags.engine import explain
from feature_flags.flag_document import diff as differences
from feature_flags.unleash_feature import wire_constraint

Document = Mapping[str, Any]

_NAMES = {
    "is_active": gettext_noop("active"),
    "is_archived": gettext_noop("archived"),
    "is_enabled": gettext_noop("enabled"),
    "is_protected": gettext_noop("protected"),
    "rollout_percent": gettext_noop("rollout"),
    "off_value": gettext_noop("value when off"),
    "group_id": gettext_noop("group"),
    "name": gettext_noop("name"),
    "label": gettext_noop("label"),
    "codename": gettext_noop("codename"),
    "description": gettext_noop("description"),
    "stickiness": gettext_noop("stickiness"),
    "value_type": gettext_noop("value type"),
    "kind": gettext_noop("kind"),
    "owner": gettext_noop("owner"),
    "tags": gettext_noop("tags"),
    "review_on": gettext_noop("review on"),
    "exposed": gettext_noop("exposed"),
    "impression_data": gettext_noop("impression data"),
    "segments": gettext_noop("segments"),
    "variants": gettext_noop("variants"),
    "required": gettext_noop("required"),
    "weight": gettext_noop("weight"),
    "payload": gettext_noop("payload"),
    "field": gettext_noop("field"),
    "operator": gettext_noop("operator"),
    "values": gettext_noop("values"),
    "value": gettext_noop("value"),
}
_SHOWN = 80
_EMPTY: tuple[Any, ...] = (None, False, "", [], {}, {"on": [], "off": []})


def describe_changes(diff: Mapping[str, Any]) -> list[str]:
    """`{member: [before, after]}` as lines: `active: off → on`, `rule 1, rollout: 10 % → 50 %`."""
    return [line for name, (before, after) in diff.items() for line in _lines(name, before, after)]


def describe_rule(document: Document) -> str:
    """`country is one of IT, FR and segment Invited and 50 % by userId`."""
    parts = [describe_constraint(part) for part in document.get("constraints") or ()]
    parts += [_("segment %(name)s") % {"name": name} for name in document.get("segments") or ()]
    if (percent := document.get("rollout_percent", 100)) != 100 or document.get("stickiness") != "default":
        parts.append(explain.rollout_label(percent, document.get("stickiness", "default")))
    text = _(" and ").join(parts) or _("everybody")
    if variants := document.get("variants"):
        text += _("; variants %(names)s") % {"names": ", ".join(map(describe_variant, variants))}
    return text if document.get("is_enabled", True) else _("%(rule)s (disabled)") % {"rule": text}


def rule_sentence(document: Document) -> str:
    """`10 % of people whose emailDomain is example.org → on`."""
    conditions = [
        _("whose %(condition)s") % {"condition": _condition(part)} for part in document.get("constraints") or ()
    ]
    conditions += [_("in the segment %(name)s") % {"name": name} for name in document.get("segments") or ()]
    whom = _("people %(conditions)s") % {"conditions": _(" and ").join(conditions)} if conditions else _("everybody")
    variants = len(document.get("variants") or ())
    outcome = _("on") if variants < 2 else _("one of %(count)d variants") % {"count": variants}
    values = {"share": document.get("rollout_percent", 100), "whom": whom, "outcome": outcome}
    sentence = _("%(share)s %% of %(whom)s → %(outcome)s") % values
    return sentence if document.get("is_enabled", True) else _("not used: %(rule)s") % {"rule": sentence}


def _condition(constraint: Document) -> str:
    if constraint.get("operator") == "IN" and len(constraint.get("values") or ()) == 1:
        verb = _("is not") if constraint.get("inverted") else _("is")
        return f"{constraint.get('field')} {verb} {constraint['values'][0]}"
    return describe_constraint(constraint)


def describe_constraint(document: Document) -> str:
    """`country is one of IT, FR`."""
    try:
        return explain.constraint_label(wire_constraint(document))
    except KeyError:
        return f"{document.get('field')} {document.get('operator')}"


def describe_variant(document: Document) -> str:
    """`blue (weight 1)`, with its payload where it has one."""
    payload = document.get("payload")
    value = "" if payload is None else f", {_word(payload)}"
    given = {"name": document.get("name"), "weight": document.get("weight", 1), "value": value}
    return _("%(name)s (weight %(weight)s%(value)s)") % given


def describe_prerequisite(document: Document) -> str:
    """`FF_PARENT on with variant blue or red`."""
    variants = _(" or ").join(document.get("variants") or ())
    state = _("on") if document.get("required", True) else _("off")
    with_variant = _(" with variant %(variant)s") % {"variant": variants} if variants else ""
    return f"{document.get('parent')} {state}{with_variant}"


def _lines(name: str, before: Any, after: Any) -> list[str]:
    if before in _EMPTY and after in (None, ""):
        # Beginnings and ends name every member; those that hold nothing are no news.
        return []
    old, new = before or [], after or []
    try:
        if name == "rules":
            return _rules(old, new)
        if name == "constraints":
            gone = [f"{_('constraint removed')}: {describe_constraint(part)}" for part in old if part not in new]
            come = [f"{_('constraint added')}: {describe_constraint(part)}" for part in new if part not in old]
            return [*gone, *come] or [_("constraints: another order or spelling")]
        if name == "variants":
            labels = _("variant removed"), _("variant added"), _("variant")
            return _by_name(labels, "name", old, new, describe_variant) or [_("variants: another order")]
        if name == "prerequisites":
            labels = _("prerequisite removed"), _("prerequisite added"), _("prerequisite")
            return _by_name(labels, "parent", old, new, describe_prerequisite)
        if name == "targets":
            old, new = before or {}, after or {}
            return [
                line
                for state, title in (("on", _("always on")), ("off", _("always off")))
                for line in _names_line(title, old.get(state) or [], new.get(state) or [])
            ]
        if name in ("tags", "segments"):
            return _names_line(_(_NAMES[name]), old, new)
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # Rows of older versions, or written by hand, may hold another shape.
    is_percent = name == "rollout_percent"
    shown = [f"{value} %" if is_percent and value is not None else _word(value) for value in (before, after)]
    title = _(_NAMES[name]) if name in _NAMES else name.replace("_", " ")
    return [f"{title}: {shown[0]} → {shown[1]}"]


def _rules(before: Sequence[Document], after: Sequence[Document]) -> list[str]:
    old, new = [_key(part) for part in before], [_key(part) for part in after]
    if old != new and sorted(old) == sorted(new):
        order = ", ".join(_title(part, number) for number, part in enumerate(after))
        return [_("rules: another order, now %(order)s") % {"order": order}]
    lines: list[str] = []
    for tag, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        paired = min(end - start, new_end - new_start)
        for number in range(paired):
            title = _title(after[new_start + number], new_start + number)
            inner = describe_changes(differences(before[start + number], after[new_start + number]))
            lines += [f"{title}, {line}" for line in inner]
        for number in range(start + paired, end):
            values = {"title": _title(before[number], number), "rule": describe_rule(before[number])}
            lines.append(_("%(title)s removed: %(rule)s") % values)
        for number in range(new_start + paired, new_end):
            values = {"title": _title(after[number], number), "rule": describe_rule(after[number])}
            lines.append(_("%(title)s added: %(rule)s") % values)
    return lines


def _title(document: Document, number: int) -> str:
    title = _("rule %(number)s") % {"number": number + 1}
    return f"{title} “{label}”" if (label := document.get("label")) else title


def _key(part: Any) -> str:
    return json.dumps(part, sort_keys=True, ensure_ascii=False)


def _names_line(name: str, before: Sequence[str], after: Sequence[str]) -> list[str]:
    """`tags: + new, − old`."""
    old, new = set(before), set(after)
    come, gone = [value for value in after if value not in old], [value for value in before if value not in new]
    signs = [f"{sign} {explain.enumeration(values)}" for sign, values in (("+", come), ("−", gone)) if values]
    return [f"{name}: {', '.join(signs)}"] if signs else []


def _by_name(
    labels: tuple[str, str, str],
    name: str,
    before: Sequence[Document],
    after: Sequence[Document],
    text: Callable[[Document], str],
) -> list[str]:
    removed, added, kind = labels
    old, new = {part[name]: part for part in before}, {part[name]: part for part in after}
    lines = [f"{removed}: {text(old[key])}" for key in old if key not in new]
    for key, part in new.items():
        if key not in old:
            lines.append(f"{added}: {text(part)}")
        elif part != old[key]:
            lines += [f"{kind} {key}, {line}" for line in describe_changes(differences(old[key], part))]
    return lines


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return _("on") if value else _("off")
    if value is None or value == "":
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
