"""The same pixels written as each format's users write them.

Radar is stored as float32 linear power, as every provider of gamma0 delivers it; optical bands as uint16, at 10 m
where a format holds one array a patch.
"""

import functools
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BANDS = ("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B8A", "B11", "B12", "B1", "B9")
"""In the order of `flat`, as SSL4EO-S12 names its files."""
_FINE, _COARSE = BANDS[:4], BANDS[4:]
_SCENES = {"s2a": "20200601T102031_20200601T102030_T33UUU", "s1": "S1A_IW_GRDH_1SDV_20200602T053000"}
PATCHES_A_TAR = 128


class Source:
    """The pixels to write, from `.npy` files."""

    def __init__(self, folder: Path) -> None:
        self.s2_10m, self.s2_20m, self.s1_db = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("s2_10m", "s2_20m", "s1")
        )

    def __len__(self) -> int:
        return len(self.s1_db)

    def flat(self, i: int) -> NDArray[np.uint16]:
        """All 12 bands at 10 m, coarse ones repeated."""
        return np.concatenate([self.s2_10m[i], self.s2_20m[i].repeat(2, axis=1).repeat(2, axis=2)])

    def s1(self, i: int) -> NDArray[np.float32]:
        """Linear gamma0."""
        return (10 ** (self.s1_db[i] / 1000)).astype(np.float32)  # stored as dB x 100


def write_npz(source: Source, out: Path) -> None:
    """DeepSentinel 2020: float32 of all bands at 10 m, one uncompressed file a patch."""
    for i in range(len(source)):
        np.savez(out / f"{i:06d}.npz", arr=np.concatenate([source.flat(i).astype(np.float32), source.s1(i)]))


def write_lmdb(source: Source, out: Path) -> None:
    """rico-hdl: a safetensors blob a patch, one tensor a band at its own resolution."""
    import lmdb
    from safetensors.numpy import save

    with lmdb.open(str(out), map_size=1 << 36) as environment, environment.begin(write=True) as transaction:
        for i in range(len(source)):
            fine = {name: source.s2_10m[i, k].copy() for k, name in enumerate(_FINE)}
            coarse = {name: source.s2_20m[i, k].copy() for k, name in enumerate(_COARSE)}
            radar = dict(zip(("VV", "VH"), source.s1(i), strict=True))
            transaction.put(f"{i:06d}".encode(), save({**fine, **coarse, **radar}))


def write_webdataset(source: Source, out: Path) -> None:
    """WebDataset: tar files of `.npy` members."""
    _write_tars(source, out, lambda i: {"s2.npy": _npy(source.flat(i)), "s1.npy": _npy(source.s1(i))})


def write_terramesh(source: Source, out: Path) -> None:
    """TerraMesh: tar files of one zipped Zarr array a sensor, the whole patch a chunk, codecs as zarr 2 chose them."""
    _write_tars(
        source, out, lambda i: {"s2.zarr.zip": _zarr_zip(source.flat(i)), "s1.zarr.zip": _zarr_zip(source.s1(i))}
    )


def write_geotiff(source: Source, out: Path) -> None:
    """Multi-band GeoTIFF, S2 and S1 apart: deflate, with the interleaving and predictors of the smallest files."""
    for i in range(len(source)):
        _write_tif(out / f"{i:06d}_s2.tif", source.flat(i), compress="deflate", predictor=2, interleave="band")
        _write_tif(out / f"{i:06d}_s1.tif", source.s1(i), compress="deflate", interleave="band")


def write_torchgeo(source: Source, out: Path) -> None:
    """SSL4EO-S12 v1.1 as its authors publish it: an uncompressed GeoTIFF a band."""
    for i in range(len(source)):
        optical, radar = (out / split / f"{i:07d}" / scene for split, scene in _SCENES.items())
        optical.mkdir(parents=True)
        radar.mkdir(parents=True)
        for k, name in enumerate(_FINE):
            _write_tif(optical / f"{name}.tif", source.s2_10m[i, k][None])
        for k, name in enumerate(_COARSE):
            _write_tif(optical / f"{name}.tif", source.s2_20m[i, k][None])
        for name, values in zip(("VV", "VH"), source.s1(i), strict=True):
            _write_tif(radar / f"{name}.tif", values[None])


def write_icechunk(source: Source, out: Path, shard_rows: int = 0) -> None:
    """Icechunk: the arrays of this project, one patch a chunk with the same codec; without shards where 0 rows."""
    import icechunk
    import zarr
    from zarr.codecs import BloscCodec

    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(out)))
    session = repository.writable_session("main")
    group = zarr.create_group(session.store)
    for name, values in (("s2_10m", source.s2_10m), ("s2_20m", source.s2_20m), ("s1", source.s1_db)):
        codec = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
        array = group.create_array(
            name, shape=values.shape, chunks=(1, *values.shape[1:]), dtype=values.dtype, compressors=[codec],
            shards=(shard_rows, *values.shape[1:]) if shard_rows else None,
        )  # fmt: skip
        array[...] = np.asarray(values)
    session.commit("pixels")


WRITERS: dict[str, Callable[[Source, Path], None]] = {
    "npz": write_npz,
    "lmdb": write_lmdb,
    "webdataset": write_webdataset,
    "terramesh": write_terramesh,
    "geotiff": write_geotiff,
    "torchgeo": write_torchgeo,
    "icechunk": write_icechunk,
    "icechunk-shards": functools.partial(write_icechunk, shard_rows=256),
}


def _npy(values: NDArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _zarr_zip(values: NDArray) -> bytes:
    import numcodecs
    import zarr
    from zarr.storage import MemoryStore

    files: dict = {}
    codec = numcodecs.Blosc("lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
    group = zarr.create_group(MemoryStore(files), zarr_format=2)
    group.create_array("bands", shape=values.shape, chunks=values.shape, dtype=values.dtype, compressors=codec)[...] = (
        values
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, buffer in files.items():
            archive.writestr(name, buffer.to_bytes())
    return stream.getvalue()


def _write_tars(source: Source, out: Path, members: Callable[[int], dict[str, bytes]]) -> None:
    for start in range(0, len(source), PATCHES_A_TAR):
        with tarfile.open(out / f"{start // PATCHES_A_TAR:06d}.tar", "w") as tar:
            for i in range(start, min(start + PATCHES_A_TAR, len(source))):
                for name, content in members(i).items():
                    entry = tarfile.TarInfo(f"{i:06d}.{name}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))


def _write_tif(path: Path, values: NDArray, **options: object) -> None:
    import rasterio

    side = values.shape[-1]
    metre = 2560 // side
    profile = {
        "driver": "GTiff", "count": len(values), "height": side, "width": side, "dtype": values.dtype,
        "crs": "EPSG:32633", "transform": rasterio.Affine(metre, 0, 300000, 0, -metre, 5900000), **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
