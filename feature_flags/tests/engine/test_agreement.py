"""What SDKs read alike. The proof against the SDKs themselves is in `tests/sdk/test_documents.py`."""

import pytest

from feature_flags.engine import validation
from feature_flags.engine.validation import Unshared, compile_pattern, shared_pattern
from feature_flags.tests.engine import pools
from feature_flags.tests.engine.build import constraint


@pytest.mark.parametrize(
    ("pattern", "shared"),
    [
        (r"^\d+$", "^[0-9]+$"),
        (r"\D\w\W", "[^0-9][0-9A-Za-z_][^0-9A-Za-z_]"),
        (r"\s\S", r"[\t\n\f\r ][^\t\n\f\r ]"),
        (r"[\d-]", r"[0-9\-]"),
        (r"[^\s\w.]", r"[^\t\n\f\r 0-9A-Za-z_.]"),
        ("[a&&b][[a]", r"[a\&\&b][\[a]"),
        ("[]a][a-z-9]", r"[\]a][a-z\-9]"),
        ("[!--]", r"[!-\-]"),
        ("a{ b{,2} c{2,3}", r"a\{ b\{,2} c{2,3}"),
        (r"\Qa.b\E+", r"a\.b+"),
        (r"\p{^Greek}\pL", r"\P{Greek}\p{L}"),
        ("(?P<name>a)(?i:b)", "(?:a)(?i:b)"),
        (r"(?i)\x41[[:alpha:]]\.é$", r"(?i)\x41[[:alpha:]]\.é$"),
    ],
)
def test_a_pattern_is_written_as_all_engines_read_it(pattern, shared):
    assert shared_pattern(pattern) == shared
    assert shared_pattern(shared) == shared


@pytest.mark.parametrize("pattern", [*pools.PATTERNS, *pools.CLASS_PATTERNS])
def test_a_pattern_written_anew_finds_what_it_found(pattern):
    try:
        shared = compile_pattern(shared_pattern(pattern))
    except Unshared:
        return
    found = [text for text in [*pools.WORDS, *pools.TEXTS] if compile_pattern(pattern).search(text.encode())]

    assert [text for text in [*pools.WORDS, *pools.TEXTS] if shared.search(text.encode())] == found


@pytest.mark.parametrize(
    "pattern",
    [r"\bcat", r"\B", r"[\D.]", r"\101", r"\C", r"\<a", r"\p{C}", "(?)a", "a(?i)*", "(" * 101 + "a" + ")" * 101],
)
def test_a_pattern_without_a_common_form_is_told(pattern):
    assert compile_pattern(pattern) is not None
    assert keys(constraint("REGEX", pattern)) == ["value"]


def keys(document):
    return [key for key, sentence in validation.disagreements(validation.shared_constraint(document))]


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (constraint("IN", ["a", ""]), "values"),
        (constraint("NOT_IN", [" a"]), "values"),
        (constraint("STR_CONTAINS", [""]), "values"),
        (constraint("STR_STARTS_WITH", ["Dr. "]), "values"),
        (constraint("IN", ["\ufeffa"]), "values"),
        (constraint("DATE_AFTER", "2024-05-01T00:00:00Z", "registeredAt"), "contextName"),
        (constraint("DATE_AFTER", "2024-04-30T23:59:60Z", "currentTime"), "value"),
        (constraint("IN", ["2024"], "currentTime"), "contextName"),
        (constraint("IN", ["a"], "constructor"), "contextName"),
        (constraint("IN", ["a"], "__proto__"), "contextName"),
        (constraint("IN", ["a"], "properties"), "contextName"),
        (constraint("SEMVER_EQ", "9007199254740992.0.0"), "value"),
        (constraint("SEMVER_EQ", "1.2.3-9007199254740993"), "value"),
        (constraint("SEMVER_EQ", f"1.2.3-{'a' * 251}"), "value"),
    ],
)
def test_what_means_two_things_is_told(document, key):
    assert keys(document) == [key]


@pytest.mark.parametrize(
    "document",
    [
        constraint("IN", ["a b", "\x85a"]),
        constraint("DATE_AFTER", "2024-05-01T02:00:00+02:00", "currentTime"),
        constraint("SEMVER_GTE", "1.2.3-beta.1+9007199254740993"),
        constraint("NUM_EQ", "007"),
        constraint("IN_CIDR", ["10.0.0.0/255.0.0.0", "10.0.0.0/+8", "::1"]),
    ],
)
def test_what_all_read_alike_is_not(document):
    assert keys(document) == []


def test_the_length_of_a_network_is_served_in_digits():
    document = constraint("IN_CIDR", ["10.0.0.0/255.0.0.0", "fe80::/010", "10.0.0.0/+8", "10.0.0.0/0", "::1", "x/+8"])

    values = validation.shared_constraint(document)["values"]

    assert values == ["10.0.0.0/8", "fe80::/10", "10.0.0.0/8", "10.0.0.0/0", "::1", "x/+8"]


@pytest.mark.parametrize("stickiness", ["currentTime", "toString", 'a"b', "a\\"])
def test_nobody_is_placed_by_what_sdks_read_in_two_ways(stickiness):
    assert validation.stickiness_problem(stickiness)


@pytest.mark.parametrize("group", ["é", 'a"b', "a\\"])
def test_a_group_is_plain_ascii(group):
    assert validation.group_problem(group)
    assert not validation.group_problem("FF_A b\\c")
