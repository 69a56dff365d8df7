"""How changes read in the history and in an import's difference."""

import pytest

from feature_flags import descriptions, flag_document

IT = {"field": "country", "operator": "IN", "values": ["IT", "FR"]}
OLD = {"field": "age", "operator": "NUM_GTE", "value": "18", "inverted": True}


def document(**members):
    return flag_document.checked({"codename": "FF_A", **members})


def lines(before, after):
    return descriptions.describe_changes(flag_document.diff(document(**before), document(**after)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"label": "New"}, ["label: – → New"]),
        ({}, {"is_active": True}, ["active: off → on"]),
        ({}, {"rollout_percent": 0}, ["rollout: 100 % → 0 %"]),
        ({"tags": ["a", "b"]}, {"tags": ["b", "c"]}, ["tags: + c, − a"]),
        ({"targets": {"on": ["x"]}}, {"targets": {"off": ["x"]}}, ["always on: − x", "always off: + x"]),
        (
            {},
            {"prerequisites": [{"parent": "FF_P", "variants": ["a", "b"]}]},
            ["prerequisite added: FF_P on with variant a or b"],
        ),
        (
            {"prerequisites": [{"parent": "FF_P"}]},
            {"prerequisites": [{"parent": "FF_P", "required": False}]},
            ["prerequisite FF_P, required: on → off"],
        ),
        (
            {"variants": [{"name": "a"}, {"name": "b"}]},
            {"variants": [{"name": "b", "weight": 3}, {"name": "c"}]},
            ["variant removed: a (weight 1)", "variant b, weight: 1 → 3", "variant added: c (weight 1)"],
        ),
        (
            {"variants": [{"name": "a"}, {"name": "b"}]},
            {"variants": [{"name": "b"}, {"name": "a"}]},
            ["variants: another order"],
        ),
        (
            {"rules": [{"label": "Beta", "rollout_percent": 10}]},
            {"rules": [{"label": "Beta", "rollout_percent": 50, "constraints": [IT]}]},
            ["rule 1 “Beta”, rollout: 10 % → 50 %", "rule 1 “Beta”, constraint added: country is one of IT, FR"],
        ),
        (
            {"rules": [{"constraints": [IT]}]},
            {"rules": [{"constraints": [OLD]}, {"constraints": [IT]}]},
            ["rule 1 added: age is not at least 18"],
        ),
        (
            {"rules": [{"label": "a"}, {"label": "b"}]},
            {"rules": [{"label": "b"}, {"label": "a"}]},
            ["rules: another order, now rule 1 “b”, rule 2 “a”"],
        ),
        (
            {"rules": [{"segments": ["S"], "is_enabled": False}, {}]},
            {"rules": [{}]},
            ["rule 1 removed: segment S (disabled)"],
        ),
        (
            {"rules": [{"constraints": [IT]}]},
            {"rules": [{"constraints": [OLD], "segments": ["S"]}]},
            [
                "rule 1, constraint removed: country is one of IT, FR",
                "rule 1, constraint added: age is not at least 18",
                "rule 1, segments: + S",
            ],
        ),
    ],
)
def test_changes_read_like_this(before, after, expected):
    assert lines(before, after) == expected


def test_a_rule_reads_as_a_sentence():
    rule = {"constraints": [IT], "segments": ["Invited"], "rollout_percent": 50, "stickiness": "email"}

    assert descriptions.describe_rule(rule) == "country is one of IT, FR and segment Invited and 50 % by email"
    assert descriptions.describe_rule({"stickiness": "default"}) == "everybody"


def test_an_end_tells_of_what_there_was_and_not_of_what_there_was_not():
    gone = descriptions.describe_changes(flag_document.diff(document(label="Old"), {}))

    assert "label: Old → –" in gone
    assert not any(line.startswith(("description", "tags", "targets", "always")) for line in gone)


def test_long_values_are_cut_and_long_lists_counted():
    long = lines({}, {"description": "x" * 5000})[0]
    many = lines({}, {"targets": {"on": [f"u{number:03}" for number in range(200)]}})[0]

    assert len(long) < 120
    assert many == "always on: + u000, u001, u002, u003, u004 and 195 more"


@pytest.mark.parametrize("value", [None, 5, "x", [5], [{}], [{"constraints": 5}], [None], {"on": 5}, [{"name": []}]])
@pytest.mark.parametrize("name", ["rules", "variants", "targets", "tags", "prerequisites", "constraints", "segments"])
def test_any_shape_reads_somehow(name, value):
    for pair in ([value, []], [[], value], [value, value], [None, value]):
        assert all(isinstance(line, str) for line in descriptions.describe_changes({name: pair}))
