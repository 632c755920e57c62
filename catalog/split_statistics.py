"""Statistics of the patches of each split, so that training is normalised by training patches alone."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from catalog.errors import CorpusError
from catalog.stats import BandStatistics, Moments, merge_moments

NAME = "split-statistics.json"


def by_split(parts: Iterable[tuple[str | None, Mapping[str, Moments]]]) -> dict[str, BandStatistics]:
    """Band statistics of each split.

    Args:
        parts: split and moments of the bands of every patch; a patch without a split counts for none.
    """
    patches: Counter[str] = Counter()
    found: dict[str, dict[str, Moments]] = {}
    for split, moments in parts:
        if split is not None:
            patches[split] += 1
            merge_moments(found.setdefault(split, {}), moments)
    return {split: BandStatistics(patches[split], found[split]) for split in sorted(found)}


def to_document(fingerprint: str, splits: Mapping[str, BandStatistics]) -> str:
    """JSON of `NAME`; equal statistics give equal bytes.

    Args:
        fingerprint: of the collection.
    """
    found = {
        split: {
            "patches": statistics.patches,
            "bands": {band: asdict(moments) for band, moments in statistics.bands.items() if moments.count},
        }
        for split, statistics in splits.items()
    }
    return json.dumps({"fingerprint": fingerprint, "splits": found}, indent=2, allow_nan=False) + "\n"


def from_document(document: Mapping[str, Any], where: str) -> dict[str, BandStatistics]:
    """Read what `to_document` wrote.

    Raises:
        CorpusError: it is damaged.
    """
    try:
        return {
            split: BandStatistics(
                found["patches"], {band: Moments(**values) for band, values in found["bands"].items()}
            )
            for split, found in document["splits"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{where} is damaged ({error}); publish the build again") from error


def pack(moments: Mapping[str, Moments]) -> dict[str, list[float]]:
    """Moments of a patch as JSON lists; bands without a valid pixel are left out."""
    return {
        band: [found.count, found.mean, found.m2, found.minimum, found.maximum]
        for band, found in moments.items()
        if found.count
    }


def unpack(raw: Mapping[str, Sequence[Any]]) -> dict[str, Moments]:
    """Read what `pack` made."""
    return {band: Moments(*values) for band, values in raw.items()}
