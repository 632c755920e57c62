import dataclasses

import pytest

from catalog.corpus import Corpus
from catalog.errors import PhysicsError
from dsjax.contract import check_pixels


class Spoiled(Corpus):
    """A corpus of which the first `bad` patches have VV and VH swapped."""

    bad = 0

    def __getitem__(self, i):
        patch = super().__getitem__(i)
        return dataclasses.replace(patch, s1=patch.s1[::-1]) if i < self.bad else patch


@pytest.fixture
def spoiled(corpus_href) -> Spoiled:
    return Spoiled.open(corpus_href)


def test_a_sound_corpus_passes(spoiled):
    check_pixels(spoiled)


def test_swapped_polarisations_are_named_with_their_evidence(spoiled):
    spoiled.bad = len(spoiled)
    with pytest.raises(PhysicsError, match=r"16 of 16 patches .*s1-order.*median VV"):
        check_pixels(spoiled)


def test_a_few_odd_patches_are_let_through(spoiled):
    spoiled.bad = len(spoiled) // 3
    check_pixels(spoiled)


def test_a_corpus_smaller_than_the_sample_is_checked_whole(spoiled):
    spoiled.bad, spoiled.table = 3, spoiled.table.slice(0, 3)
    with pytest.raises(PhysicsError, match="3 of 3"):
        check_pixels(spoiled)
