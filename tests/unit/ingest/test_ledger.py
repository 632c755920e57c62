from collections import Counter

from ingest.ledger import BuildSummary, Row, iterate_rows, read_rows, summarise, write_rows

ROWS = [
    Row(3, "a", "written", patch_id="a-1"),
    Row(0, "b", "skipped", "cloudy_patch", "0.9"),
    Row(2, "c", "skipped", "cloudy_patch"),
    Row(1, "d", "failed", "image_out_of_reach"),
]


def test_rows_come_back_by_draw_from_all_files_of_a_folder(tmp_path):
    write_rows(iter(ROWS[:2]), tmp_path / "pairing.jsonl")
    write_rows(ROWS[2:], tmp_path / "000000.jsonl")
    assert read_rows(tmp_path) == sorted(ROWS, key=lambda row: row.draw)
    assert sorted(row.draw for row in iterate_rows(tmp_path)) == [0, 1, 2, 3]
    assert {path.name for path in tmp_path.iterdir()} == {"pairing.jsonl", "000000.jsonl"}


def test_a_summary_counts_by_status_and_reason_and_parts_merge():
    whole = summarise(ROWS)
    assert whole == BuildSummary(4, 1, Counter(cloudy_patch=2), Counter(image_out_of_reach=1))
    assert summarise(ROWS[:1]).merge(summarise(ROWS[1:])) == whole
