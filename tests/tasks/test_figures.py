from __future__ import annotations

from tasks.figures import figures, size, sparkline, within


def test_metrics_read_as_one_line():
    assert figures({"bleu": 21.349, "chrf": 45.0}) == "bleu 21.35, chrf 45"


def test_a_sparkline_spans_from_the_lowest_to_the_highest_value():
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0]) == "█▇▆▅▄▃▂▁"


def test_a_long_curve_is_averaged_into_the_width():
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"
    assert len(sparkline(list(range(1000)), width=40)) == 40


def test_a_flat_or_empty_curve_is_drawn_too():
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([]) == ""


def test_a_figure_stands_before_its_interval():
    assert within(91.234, (90.1, 92.449)) == "91.23 (90.1 to 92.45)"
    assert within(91.234, None) == "91.23"


def test_an_interval_without_width_is_not_shown():
    assert within(100.0, (100.0, 100.0)) == "100"


def test_a_size_has_three_figures_and_a_unit():
    assert [size(count) for count in (0, 512, 999, 1000, 3449, 999_600, 1_234_000_000, 2.5e12)] == [
        *("0 B", "512 B", "999 B", "1 kB", "3.45 kB", "1 MB", "1.23 GB", "2,500 GB"),
    ]
