"""The engine against yggdrasil-engine; `python -m feature_flags.tests.engine.fuzz` runs it for longer."""

import logging

import pytest

pytest.importorskip("yggdrasil_engine", reason="yggdrasil-engine, the oracle, is not installed")

from feature_flags.tests.engine import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_the_engine_answers_as_the_reference_engine_does(seed, caplog):
    caplog.set_level(logging.CRITICAL, "yggdrasil_engine.engine")

    skipped, on, differences = fuzz.compare(seed, 2500)

    assert differences == []
    assert skipped < 500
    assert 500 < on < 2000


def test_the_command_prints_seed_count_and_differences(capsys):
    assert fuzz.main(["--count", "100", "--seed", "3"]) == 0

    assert capsys.readouterr().out.startswith("seed 3: 100 compared (")


def test_the_command_fails_on_a_difference(capsys, monkeypatch):
    monkeypatch.setattr(fuzz, "ours", lambda flag, context, flags: (True, "", None, False))

    assert fuzz.main(["--count", "10", "--seed", "3", "--show", "1"]) == 1
    assert "theirs" in capsys.readouterr().out
