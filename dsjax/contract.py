"""The physics contract where a model reads pixels: units and band order are checked before they are trained on."""

from collections import Counter

import numpy as np

from catalog.corpus import Corpus
from catalog.errors import PhysicsError
from catalog.physics import check_physics

_SAMPLE = 16
_MAX_SHARE = 0.5  # single patches may be odd (snow, open sea); a wrong unit or band order is in all of them


def check_pixels(corpus: Corpus, sample: int = _SAMPLE) -> None:
    """Check evenly chosen patches of a corpus.

    Raises:
        PhysicsError: more than half of them break the same rule.
    """
    rows = np.unique(np.linspace(0, len(corpus) - 1, min(sample, len(corpus)), dtype=int))
    findings = [finding for row in rows for finding in check_physics(corpus[int(row)])]
    for rule, count in Counter(finding.rule for finding in findings).items():
        if count > _MAX_SHARE * len(rows):
            example = next(finding for finding in findings if finding.rule == rule)
            raise PhysicsError(
                f"{count} of {len(rows)} patches of {corpus.href} break the rule {rule}, such as {example}; "
                "run catalog.validate on it and build it again"
            )
