"""The on-disk contract: which arrays a shard holds, with which shape, type, fill value and attributes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog import bands
from catalog.errors import SchemaError
from catalog.patch import Patch

SCHEMA_VERSION = "1.0"
SHARD_ROWS = 256  # patches a shard: about 164 MB
SCL_NODATA = 0
UNKNOWN_LABEL = 0


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One pixel array of a shard, without its leading `patch` axis."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    fill_value: int
    attributes: Mapping[str, Any]
    is_label: bool = False

    def shape(self, side_px: int) -> tuple[int, ...]:
        """Shape of one patch's block."""
        sizes = {
            "band_10m": len(bands.S2_10M), "band_20m": len(bands.S2_20M), "pol": len(bands.S1),
            "y_10m": side_px, "x_10m": side_px, "y_20m": side_px // 2, "x_20m": side_px // 2,
        }  # fmt: skip
        return tuple(sizes[dim] for dim in self.dims)


_10M = ("y_10m", "x_10m")
_20M = ("y_20m", "x_20m")
_REFLECTANCE = {
    "long_name": "surface reflectance, Sentinel-2 Level-2A",
    "units": "1",
    "scale_factor": bands.S2_SCALE,
    "add_offset": 0.0,
    "_FillValue": 0,  # what xarray masks; zarr's own fill_value only says what an absent chunk holds
    "comment": "the offset of processing baseline 04.00 and later is already removed",
}

ARRAYS: tuple[ArraySpec, ...] = (
    ArraySpec("s2_10m", ("band_10m", *_10M), "uint16", 0, _REFLECTANCE),
    ArraySpec("s2_20m", ("band_20m", *_20M), "uint16", 0, _REFLECTANCE),
    ArraySpec("scl", _20M, "uint8", SCL_NODATA, {"long_name": "Sentinel-2 scene classification"}),
    ArraySpec(
        "s1", ("pol", *_10M), "int16", bands.S1_NODATA,
        {"long_name": "gamma0, radiometrically terrain corrected", "units": "dB", "scale_factor": bands.S1_SCALE_DB,
         "_FillValue": bands.S1_NODATA},
    ),
    ArraySpec(
        "corine", _10M, "uint8", UNKNOWN_LABEL,
        {"long_name": "CORINE Land Cover 2018, grid codes 1..44; 0 is unknown"}, is_label=True,
    ),
    ArraySpec(
        "osm", _10M, "uint32", UNKNOWN_LABEL,
        {"long_name": "OpenStreetMap classes, one bit a class; 0 is unknown, not background"}, is_label=True,
    ),
    ArraySpec(
        "worldcover", _10M, "uint8", UNKNOWN_LABEL,
        {"long_name": "ESA WorldCover, classes 10..100; 0 is unknown"}, is_label=True,
    ),
)  # fmt: skip
BY_NAME = {spec.name: spec for spec in ARRAYS}

COORDINATES: Mapping[str, tuple[str, ...]] = {
    "band_10m": tuple(band.name for band in bands.S2_10M),
    "band_20m": tuple(band.name for band in bands.S2_20M),
    "pol": tuple(band.name for band in bands.S1),
}


def arrays_of(patch: Patch) -> dict[str, NDArray[Any]]:
    """The pixel arrays of a patch by their stored name."""
    return {"s2_10m": patch.s2_10m, "s2_20m": patch.s2_20m, "scl": patch.scl, "s1": patch.s1, **patch.labels}


def check(patch: Patch) -> None:
    """Compare a patch with the contract.

    Raises:
        SchemaError: an array is missing, unknown, or of another shape or type; says what was expected and found.
    """
    found = arrays_of(patch)
    required = {spec.name for spec in ARRAYS if not spec.is_label}
    if missing := sorted(required - found.keys()):
        raise SchemaError(f"patch {patch.patch_id} lacks {', '.join(missing)}")
    for name, array in found.items():
        if name not in BY_NAME:
            raise SchemaError(f"patch {patch.patch_id} holds {name!r}; the schema knows {', '.join(BY_NAME)}")
        spec = BY_NAME[name]
        expected = spec.shape(patch.provenance.grid.side_px), np.dtype(spec.dtype)
        if (array.shape, array.dtype) != expected:
            raise SchemaError(
                f"patch {patch.patch_id}: {name} is {array.dtype} {array.shape}, expected {expected[1]} {expected[0]}"
            )


def corpus_record(collection: str, side_px: int, **more: Any) -> dict[str, Any]:
    """What `corpus.json` of a build says: which collection this is, and its fixed shapes."""
    return {"schema_version": SCHEMA_VERSION, "collection": collection, "side_px": side_px, "version": "0.1.0", **more}
