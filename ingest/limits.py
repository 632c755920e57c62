"""What a patch must be to enter a corpus, after it was read."""

import logging
from dataclasses import dataclass
from typing import Literal

from catalog.patch import Patch
from catalog.physics import check_physics
from ingest.errors import Refused

_log = logging.getLogger(__name__)

LOW_S2_VALID = "low_s2_valid_share"
LOW_S1_VALID = "low_s1_valid_share"
CLOUDY_PATCH = "cloudy_patch"
PHYSICS = "physics"


@dataclass(frozen=True)
class Limits:
    """What a patch must be to enter the corpus, after it was read."""

    s2_valid_min: float = 1.0
    """Smallest share of pixels valid in every Sentinel-2 band."""
    s1_valid_min: float = 0.99
    """Smallest share of pixels valid in both Sentinel-1 polarisations."""
    patch_cloud_max: float = 0.5
    """Largest share of cloudy pixels (scene classification 8, 9, 10)."""
    physics: Literal["refuse", "warn"] = "refuse"
    """What to do with a patch whose values contradict its bands; what is kept names the rules in its provenance."""


def check_limits(patch: Patch, limits: Limits) -> list[str]:
    """Refuse a patch outside the limits; the physics rules that it breaks where that is only warned of."""
    quality = patch.provenance.quality
    for reason, share, limit in (
        (LOW_S2_VALID, quality.s2_valid_share, limits.s2_valid_min),
        (LOW_S1_VALID, quality.s1_valid_share, limits.s1_valid_min),
    ):
        if share < limit:
            raise Refused(reason, f"{share:.4f} of the pixels are valid (limit {limit:g})")
    if quality.cloud_share > limits.patch_cloud_max:
        raise Refused(
            CLOUDY_PATCH, f"{quality.cloud_share:.3f} of the pixels are cloudy (limit {limits.patch_cloud_max:g})"
        )
    findings = check_physics(patch)
    if findings:
        evidence = "; ".join(f"{finding.rule}: {finding.evidence}" for finding in findings)
        if limits.physics == "refuse":
            raise Refused(PHYSICS, evidence)
        _log.warning("%s contradicts its bands: %s", patch.patch_id, evidence)
    return [finding.rule for finding in findings]
