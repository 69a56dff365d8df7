"""Pictures of numbers: what is drawn, and what is said of it."""

import re

from lib.admin.charts import HEIGHT, Chart, Series, sparkline, stacked_bars


def test_a_sparkline_steps_from_number_to_number():
    assert sparkline([0, 4, 8]) == (
        '<svg class="spark" viewBox="0 0 3 8" aria-hidden="true"><path d="M0 8V8h1V4h1V0h1V8z"/></svg>'
    )
    assert sparkline([0, 0]) == sparkline([]) == ""


def test_neighbours_of_one_height_are_one_step():
    assert 'd="M0 8V8h2V0h3V8z"' in sparkline([0, 0, 5, 5, 5])


def test_the_smallest_number_is_still_seen():
    assert "V7h1" in sparkline([1, 1_000_000])


def test_bars_stand_on_each_other_and_say_their_numbers():
    svg = stacked_bars(
        [Series("yes", [3, 0, 1], "chart-1"), Series("<no>", [1, 0, 0], "chart-no")],
        ["10:00", "11:00", "12:00"],
        title="Answers & more",
    )

    assert 'aria-label="Answers &amp; more"' in svg
    assert re.findall("<title>(.*?)</title>", svg) == ["10:00: yes 3, &lt;no&gt; 1", "12:00: yes 1"]
    heights = [float(low) - float(high) for low, high in re.findall(r'd="M[\d.]+ ([\d.]+)V([\d.]+)"', svg)]
    assert heights == [HEIGHT * 3 / 4, HEIGHT / 4, HEIGHT / 4]
    assert "style" not in svg


def test_the_table_has_the_moments_with_numbers_newest_first():
    chart = Chart("x", [Series("yes", [3, 0, 1], "chart-1")], ["a", "b", "c"])

    assert chart.rows == [("c", [1]), ("a", [3])]
    assert (chart.first, chart.last) == ("a", "c")


def test_a_chart_of_nothing_is_empty():
    assert stacked_bars([], [], title="x").endswith('aria-label="x"></svg>')
