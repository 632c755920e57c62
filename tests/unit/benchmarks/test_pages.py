"""What benchmarks write into the documentation."""

import pytest

from benchmarks.pages import markdown_table, renewed
from benchmarks.quality import tables

START, END = "<!-- measured: written by here -->", "<!-- end of measured -->"


def test_a_page_keeps_what_stands_around_what_was_measured():
    other = f"<!-- measured: written by there -->\n1\n{END}\n"
    text = f"before\n{other}between\n{START}\nold\n{END}\nafter\n"
    page = renewed(text, "here", markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]))
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
    assert page == f"before\n{other}between\n{START}\n{table}\n{END}\nafter\n"
    assert renewed(page, "here", table) == page


@pytest.mark.parametrize("text, lacks", [("", START), (f"{START}\n1\n", END), (f"{END}\n", START)])
def test_a_page_without_a_place_is_refused(text, lacks):
    with pytest.raises(ValueError, match=f"lacks {lacks}"):
        renewed(text, "here", "1")


def test_quality_is_the_mean_over_seeds_and_the_least_gain():
    def row(seed, encoder, value, gain_low):
        return {"where": "simulated", "seed": seed, "sensors": "s1", "probe": "knn", "encoder": encoder, "value": value,
                "gain_low": gain_low}  # fmt: skip

    rows = [row(seed, "pretrained", 0.5 + 0.1 * seed, None) for seed in (0, 1)]
    rows += [row(seed, "random", 0.4, (0.1, -0.02)[seed]) for seed in (0, 1)]
    rows += [row(seed, "statistics", 0.6, 0.3) for seed in (0, 1)]
    assert "| Sentinel-1 | nearest neighbours | 0.550 | 0.400 | -0.020 | 0.600 |" in tables(rows)
