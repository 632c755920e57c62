"""Patches as xarray datasets: physical units, coordinates in metres, a CRS, and NaN where nothing was measured.

    catalog.open_patch(item)                          an item of pystac, pystac_client, or plain JSON
    catalog.open_patch("33uuu-004-017-20210101", "catalog/labelled")
    catalog.open_shard(item.assets["data"].href)      256 patches as stored, lazily

Training reads batches through `catalog.corpus`, several times faster; this is for people.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr

from catalog import bands, schema
from catalog.corpus import Corpus
from catalog.errors import ChecksumError, CorpusError
from catalog.grid import PatchGrid
from catalog.labels import CORINE, OSM, SCL, WORLDCOVER
from catalog.patch import Provenance
from catalog.reader import CURE, ShardReader
from catalog.shard import DAMAGE, chunk_path, promises_files
from catalog.stores import Store, open_store, reported_failures

if TYPE_CHECKING:
    import pystac

_SCALES = {"s2_10m": bands.S2_SCALE, "s2_20m": bands.S2_SCALE, "s1": bands.S1_SCALE_DB}
_NODATA = {"s2_10m": 0, "s2_20m": 0, "s1": bands.S1_NODATA}
_OF_PATCH = ("provenance", "epsg", "west_m", "north_m")
_CRS = "spatial_ref"  # the name that GDAL, rioxarray and odc-geo give to the variable that holds the CRS


def open_shard(href: str | Path) -> xr.Dataset:
    """Open all patches of a shard, pixels as xarray decodes them, read when they are used.

    Args:
        href: the Zarr group, a folder or a URL: what an item's asset `data` states.

    Raises:
        CorpusError: there is no shard.
        ChecksumError: what it holds is damaged or lost.
        StoreError: the server does not answer.
    """
    store, path = _place(href)
    return _open_group(store, path).set_coords(list(_OF_PATCH))


def open_patch(
    item: "str | pystac.Item | Mapping[str, Any]", corpus: "Corpus | str | Path | None" = None
) -> xr.Dataset:
    """Open one patch, read whole.

    The dataset has reflectance (`s2_10m`, `s2_20m`) and gamma0 in dB (`s1`) as float32 with NaN where nothing was
    measured, the masks `s2_valid` and `s1_valid`, class arrays as stored with CF flags, pixel centres `x_10m`,
    `y_10m`, `x_20m`, `y_20m` in metres, and the patch's CRS in `spatial_ref`, to which every variable points.

    Args:
        item: a STAC item, or the id of one.
        corpus: what holds it: a corpus, or the folder or URL of a collection, or a subset; needed for an id, and for
            an item whose hrefs are relative to a place that it does not know.

    Raises:
        CorpusError: the item, its shard, or its row in the shard cannot be found.
        ChecksumError: what the shard holds is damaged or lost.
        StoreError: the server does not answer.
    """
    patch_id = item if isinstance(item, str) else str(item["id"] if isinstance(item, Mapping) else item.id)
    href = _shard_of_item(item, patch_id) if corpus is None else _shard_of_corpus(corpus, patch_id)
    store, path = _place(href)
    group = _open_group(store, path, mask_and_scale=False)
    names = group["patch"].to_numpy()
    found = np.flatnonzero(names == patch_id)
    if len(found) != 1:
        raise CorpusError(
            f"{href} holds {len(names)} patches, and {patch_id} {len(found)} times; the item and the shard are not of "
            "one version: fetch the item again"
        )
    return _describe(_load(store, path, group, int(found[0])))


def _place(href: str | Path) -> tuple[Store, str]:
    base, _, name = str(href).rstrip("/").rpartition("/")
    return open_store(base or ("/" if str(href).startswith("/") else Path())), name


def _open_group(store: Store, path: str, *, mask_and_scale: bool = True) -> xr.Dataset:
    """A shard whose files are all there."""
    where = store.address(path)
    try:
        with reported_failures(store, path):
            group: xr.Dataset = xr.open_zarr(
                store.zarr(path), consolidated=True, chunks=None, mask_and_scale=mask_and_scale
            )
    except (FileNotFoundError, *DAMAGE) as error:
        raise CorpusError(
            f"{where} is no shard of a corpus ({type(error).__name__}: {error}); check the href"
        ) from error
    if promises_files({"attributes": group.attrs}):
        files = [chunk_path(str(name), len(array.dims)) for name, array in group.variables.items()]
        there = store.map(lambda file: _is_there(store, f"{path}/{file}"), files)
        if lost := [file for file, found in zip(files, there, strict=True) if not found]:
            raise ChecksumError(f"{where}/{lost[0]} is missing; {CURE}")
    return group


def _is_there(store: Store, path: str) -> bool:
    try:
        store.size(path)
    except FileNotFoundError:
        return False
    return True


def _load(store: Store, path: str, group: xr.Dataset, row: int) -> xr.Dataset:
    """One patch, pixels as stored; damage in them is noticed as training does it."""
    reader = ShardReader(path, store)

    def read(name: str) -> np.ndarray:
        array = reader.open(name)
        block = np.empty(array.shape, array.dtype)
        reader.read_into(name, row, block)
        return block

    patch = group.isel(patch=row)
    names = [name for name in schema.BY_NAME if name in group]
    blocks = zip(names, store.map(read, names), strict=True)
    patch = patch.assign({name: patch[name].copy(data=block) for name, block in blocks})
    try:
        with reported_failures(store, path):
            return patch.load()
    except DAMAGE as error:
        raise ChecksumError(f"{store.address(path)} is damaged ({error}); {CURE}") from error


def _shard_of_corpus(corpus: "Corpus | str | Path", patch_id: str) -> str:
    opened = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus, columns=["id"])
    rows = np.flatnonzero(opened.table["id"].to_numpy() == patch_id)
    if len(rows) == 0:
        raise CorpusError(f"{opened.href} holds no patch {patch_id}; search lists what there is")
    return opened.shard_href(int(rows[0]))


def _shard_of_item(item: "str | pystac.Item | Mapping[str, Any]", patch_id: str) -> str:
    if isinstance(item, str):
        raise CorpusError(
            f"where {patch_id} lies is not known; give its corpus too: open_patch(id, 'catalog/labelled')"
        )
    if isinstance(item, Mapping):
        href = item["assets"]["data"]["href"]
    else:
        href = item.assets["data"].get_absolute_href() or item.assets["data"].href
    if "://" not in href and not Path(href).is_absolute():
        raise CorpusError(f"{href} of this item is relative to a place that is not known; give its corpus too")
    return str(href)


def _describe(stored: xr.Dataset) -> xr.Dataset:
    """A stored patch in physical units with coordinates, masks, flags and CRS."""
    source = Provenance.from_json(str(stored["provenance"].item()))
    found = {name: _physical(stored[name]) for name in schema.BY_NAME if name in stored}
    for name, pixels in {"s2_valid": found["s2_10m"], "s1_valid": found["s1"]}.items():
        measured = pixels.notnull().all(str(pixels.dims[0]))
        found[name] = measured.assign_attrs(long_name=f"all bands of {pixels.name} were measured")
    for variable in found.values():
        variable.attrs["grid_mapping"] = _CRS
    dataset = xr.Dataset(found, coords=_coordinates(source.grid), attrs=_attributes(source))
    return dataset.drop_vars(["patch", *_OF_PATCH], errors="ignore")


def _physical(stored: xr.DataArray) -> xr.DataArray:
    name, values = str(stored.name), stored.to_numpy()
    attributes = {key: stored.attrs[key] for key in ("long_name", "units", "comment") if key in stored.attrs}
    if name in _SCALES:
        values = np.where(values == _NODATA[name], np.float32(np.nan), values * np.float32(_SCALES[name]))
    else:
        attributes |= _flags(name)
    axis = stored.dims[0] if stored.ndim == 3 else None
    labels = {} if axis is None else {axis: stored[axis].to_numpy()}
    return xr.DataArray(values, labels, stored.dims, name, attributes)


def _flags(name: str) -> dict[str, Any]:
    """CF's names for the values, or bits, of a class array."""
    if name == "osm":
        masks = np.array([osm.value for osm in OSM], np.uint32)
        return {"flag_masks": masks, "flag_meanings": " ".join(osm.name for osm in OSM)}
    tables = {
        "corine": [(0, "unknown"), *((c.grid_code, f"{c.code} {c.name}") for c in CORINE)],
        "worldcover": [(0, "unknown"), *((cover.value, cover.name) for cover in WORLDCOVER)],
        "scl": [(scene.value, scene.name) for scene in SCL],
    }
    classes = tables[name]
    words = ["_".join("".join(c if c.isalnum() else " " for c in text).split()) for _, text in classes]
    return {"flag_values": np.array([value for value, _ in classes], np.uint8), "flag_meanings": " ".join(words)}


def _coordinates(grid: PatchGrid) -> dict[str, Any]:
    found: dict[str, Any] = {_CRS: ((), 0, pyproj.CRS.from_epsg(grid.epsg).to_cf())}
    for gsd_m in (10, 20):
        for axis, metres in zip("xy", grid.centres_m(gsd_m), strict=True):
            name = f"{axis}_{gsd_m}m"
            attributes = {"standard_name": f"projection_{axis}_coordinate", "units": "m", "axis": axis.upper()}
            found[name] = (name, metres, {**attributes, "long_name": f"pixel centres, {gsd_m} m"})
    return found


def _attributes(source: Provenance) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.10",
        "id": source.patch_id,
        "s2_item_id": source.s2["item_id"],
        "s2_acquired": source.s2["acquired"],
        "s1_item_id": source.s1["item_id"],
        "s1_acquired": source.s1["acquired"],
        "comment": "contains modified Copernicus Sentinel data",
    }
