"""Pure rules that turn delivered values into stored ones: offset, nodata, units."""

import numpy as np
from numpy.typing import NDArray

from catalog.bands import S1_NODATA, S1_SCALE_DB, S2_10M
from catalog.patch import Quality
from ingest.coregistration import measure_shift

OFFSET_BASELINE = "04.00"  # first processing baseline with BOA_ADD_OFFSET (ESA, in operation since 2022-01-25)
BOA_ADD_OFFSET = -1000  # the same for all 12 bands (product metadata, BOA_ADD_OFFSET_VALUES_LIST)
DELIVERED_S1_NODATA = -32768.0  # Planetary Computer, sentinel-1-rtc

NEAR_INFRARED = [band.name for band in S2_10M].index("B08")  # fields, roads and water differ most in it

# Scene classification of Level-2A (Sen2Cor ATBD, table 3).
SCL_SHADOW = (3,)
SCL_CLOUD = (8, 9, 10)
SCL_SNOW = (11,)


def boa_add_offset(baseline: str) -> int:
    """The offset that a processing baseline adds to digital numbers, as the product metadata gives it: -1000 or 0.

    The baseline decides and never the date: reprocessed images of old dates carry the offset too.
    """
    return BOA_ADD_OFFSET if float(baseline) >= float(OFFSET_BASELINE) else 0


def remove_offset(dn: NDArray[np.uint16], add_offset: int) -> NDArray[np.uint16]:
    """Bring digital numbers to the scale without offset: reflectance x 10000.

    Args:
        dn: as delivered; 0 is nodata.
        add_offset: -1000 or 0, from `boa_add_offset`.

    Returns:
        0 where `dn` is 0; elsewhere at least 1, so that dark pixels stay valid.
    """
    if add_offset == 0:
        return dn
    shifted = np.maximum(dn.astype(np.int32) + add_offset, 1)
    return np.where(dn == 0, 0, shifted).astype(np.uint16)


def stored_gamma0(power: NDArray[np.floating]) -> NDArray[np.int16]:
    """Linear gamma0 to stored decibels x 100.

    Valid is finite, positive and not the delivered nodata value; zeros are border noise or unfilled blocks.
    """
    valid = np.isfinite(power) & (power > 0) & (power != DELIVERED_S1_NODATA)
    decibels = 10 * np.log10(np.where(valid, power, 1.0), dtype=np.float64)
    limit = -S1_NODATA - 1
    return np.where(valid, np.clip(np.rint(decibels / S1_SCALE_DB), -limit, limit), S1_NODATA).astype(np.int16)


def measure_quality(
    s2_10m: NDArray[np.uint16],
    s2_20m: NDArray[np.uint16],
    scl: NDArray[np.uint8],
    s1: NDArray[np.int16],
    *,
    boa_offset_applied: bool,
    s1_zone_changed: bool,
) -> Quality:
    """Measure stored arrays (axes `band y x`): shares of valid, cloudy, shadowed and snowy pixels, and the shift of S1.

    A pixel is valid when it is so in every band of its array; the Sentinel-2 share is the smaller of both resolutions.
    """

    def share(classes: tuple[int, ...]) -> float:
        return _rounded(np.isin(scl, classes))

    shift = measure_shift(s2_10m[NEAR_INFRARED], s1)
    return Quality(
        s2_valid_share=min(_rounded((s2_10m != 0).all(0)), _rounded((s2_20m != 0).all(0))),
        s1_valid_share=_rounded((s1 != S1_NODATA).all(0)),
        cloud_share=share(SCL_CLOUD),
        shadow_share=share(SCL_SHADOW),
        snow_share=share(SCL_SNOW),
        boa_offset_applied=boa_offset_applied,
        s1_zone_changed=s1_zone_changed,
        s1_shift_east_m=round(shift.east_m, 1) if shift else None,
        s1_shift_north_m=round(shift.north_m, 1) if shift else None,
        s1_shift_peak=round(shift.peak, 1) if shift else None,
    )


def _rounded(mask: NDArray[np.bool_]) -> float:
    return round(float(mask.mean()), 6)
