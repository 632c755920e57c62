"""Versions of a published corpus, against what was done to it."""

import dataclasses

from catalog.changes import MEMBER, State, changelog, history_of

FIRST = State("0.1.0", "a", 1, "s1", 512, 2)


def publish_all(*states: State) -> list[dict]:
    history: list[dict] = []
    for state in states:
        history = history_of({MEMBER: history}, state)
    return history


def versions(*states: State) -> list[str]:
    return [entry["version"] for entry in publish_all(*states)]


def test_every_change_raises_the_last_part_and_no_change_none():
    grown = dataclasses.replace(FIRST, fingerprint="b", patches=600, shards=3)
    assert versions(FIRST, FIRST, grown, grown) == ["0.1.0", "0.1.1"]
    assert versions(FIRST, grown, FIRST) == ["0.1.0", "0.1.1", "0.1.2"]


def test_a_new_version_of_the_build_starts_anew():
    second = dataclasses.replace(FIRST, build_version="0.2.0")
    assert versions(FIRST, second, dataclasses.replace(second, fingerprint="c")) == ["0.1.0", "0.2.0", "0.2.1"]
    named = dataclasses.replace(FIRST, build_version="spring")
    assert versions(named, dataclasses.replace(named, fingerprint="c")) == ["spring", "spring.1"]


def test_each_entry_says_what_changed():
    grown = dataclasses.replace(FIRST, fingerprint="b", patches=1600, shards=3)
    again = dataclasses.replace(grown, fingerprint="c")
    split = dataclasses.replace(again, split_version="s2")
    texts = [entry["text"] for entry in publish_all(FIRST, grown, again, split)]
    assert texts == [
        "First published: 512 patches in 2 shards.",
        "1,088 patches more: 1,600 patches in 3 shards.",
        "Shards were made again: 1,600 patches in 3 shards.",
        "Patches were split by the rules s2: 1,600 patches in 3 shards.",
    ]


def test_the_page_lists_the_newest_first():
    page = changelog("Corpus", publish_all(FIRST, dataclasses.replace(FIRST, items_version=2)))
    assert page.startswith("# Corpus: changes\n\n## 0.1.1\n\nItems and pictures were made anew")
    assert page.endswith("## 0.1.0\n\nFirst published: 512 patches in 2 shards.\n")
