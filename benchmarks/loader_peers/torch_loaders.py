"""Float batches through PyTorch's DataLoader with two workers, each format read as its documentation shows.

Every pipeline gives the same: 64 patches as `(12, 256, 256)` and `(2, 256, 256)` float32 at 10 m, standardised.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.loader_peers.formats import BANDS, PATCHES_A_TAR
from benchmarks.loader_peers.worker import Epoch

SIDE_PX, BATCH, WORKERS = 256, 64, 2
_MEAN, _STD = torch.full((12, 1, 1), 1200.0), torch.full((12, 1, 1), 900.0)
_MEAN_S1, _STD_S1 = torch.full((2, 1, 1), 0.1), torch.full((2, 1, 1), 0.1)

Sample = tuple[torch.Tensor, torch.Tensor]


def _standardise(s2: torch.Tensor, s1: torch.Tensor) -> Sample:
    return (s2 - _MEAN) / _STD, (s1 - _MEAN_S1) / _STD_S1


class _Files(Dataset):
    """Patches of one folder by number."""

    def __init__(self, root: Path, patches: int) -> None:
        self.root, self.patches = root, patches

    def __len__(self) -> int:
        return self.patches


class Npz(_Files):
    def __getitem__(self, i: int) -> Sample:
        with np.load(self.root / f"{i:06d}.npz") as file:
            pixels = torch.from_numpy(file["arr"])
        return _standardise(pixels[:12], pixels[12:])


class Lmdb(_Files):
    """One environment a worker, opened there."""

    environment = None

    def __getitem__(self, i: int) -> Sample:
        import lmdb
        from safetensors.numpy import load

        if self.environment is None:
            self.environment = lmdb.open(str(self.root), readonly=True, lock=False, meminit=False, readahead=True)
        with self.environment.begin(write=False, buffers=True) as transaction:
            bands = load(bytes(transaction.get(f"{i:06d}".encode())))
        stack = [torch.from_numpy(bands[name].astype(np.float32)) for name in BANDS]
        fine, coarse = torch.stack(stack[:4]), torch.stack(stack[4:])
        coarse = torch.nn.functional.interpolate(coarse[None], scale_factor=2, mode="nearest")[0]
        return _standardise(torch.cat([fine, coarse]), torch.from_numpy(np.stack([bands["VV"], bands["VH"]])))


class GeoTiff(_Files):
    def __getitem__(self, i: int) -> Sample:
        import rasterio

        with rasterio.open(self.root / f"{i:06d}_s2.tif") as file:
            s2 = torch.from_numpy(file.read().astype(np.float32))
        with rasterio.open(self.root / f"{i:06d}_s1.tif") as file:
            s1 = torch.from_numpy(file.read())
        return _standardise(s2, s1)


class TorchGeo(_Files):
    """TorchGeo's own class, one for each sensor."""

    def __init__(self, root: Path, patches: int) -> None:
        super().__init__(root, patches)
        _declare_torchvision_operators()
        from torchgeo.datasets import SSL4EOS12

        class Sized(SSL4EOS12):
            size = SIDE_PX

        self._optical, self._radar = Sized(str(root), "s2a"), Sized(str(root), "s1")

    def __getitem__(self, i: int) -> Sample:
        return _standardise(self._optical[i]["image"], self._radar[i]["image"])


def _declare_torchvision_operators() -> None:
    """torchvision's compiled operators do not load beside this torch; none is used, but importing asks for them."""
    import importlib.util
    import re

    source = Path(importlib.util.find_spec("torchvision").origin).with_name("_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(re.findall(r'register_(?:meta|fake)\("(?:torchvision::)?(\w+)"\)', source))):
        library.define(f"{name}(Tensor x) -> Tensor")
    _LIBRARIES.append(library)


_LIBRARIES: list = []  # an operator lives as long as its library


def _shuffled(dataset: Dataset) -> Iterable:
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)


def _from_tars(root: Path, patches: int, names: tuple[str, str], decode: object = None) -> Iterable:
    import webdataset as wds

    def sample(found: dict) -> Sample:
        s2, s1 = (torch.from_numpy(found[name].astype(np.float32)) for name in names)
        return _standardise(s2, s1)

    tars = sorted(map(str, root.glob("*.tar")))[: patches // PATCHES_A_TAR]
    steps = wds.WebDataset(tars, shardshuffle=len(tars)).shuffle(100)
    steps = (steps.decode(decode) if decode else steps.decode()).map(sample).batched(BATCH)
    return wds.WebLoader(steps, batch_size=None, num_workers=WORKERS, persistent_workers=True)


def _decode_zarr_zip(key: str, value: bytes) -> np.ndarray | None:
    if not key.endswith("zarr.zip"):
        return None
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    buffer = default_buffer_prototype().buffer
    with zipfile.ZipFile(io.BytesIO(value)) as archive:
        files = {name: buffer.from_bytes(archive.read(name)) for name in archive.namelist()}
    return zarr.open_group(MemoryStore(files), mode="r", zarr_format=2)["bands"][...]


def loader(name: str, root: Path, patches: int) -> Iterable:
    """The batches of a pipeline; iterate again for another epoch."""
    if name == "webdataset":
        return _from_tars(root, patches, ("s2.npy", "s1.npy"))
    if name == "terramesh":
        return _from_tars(root, patches, ("s2.zarr.zip", "s1.zarr.zip"), _decode_zarr_zip)
    classes = {"npz": Npz, "lmdb": Lmdb, "geotiff": GeoTiff, "torchgeo": TorchGeo}
    return _shuffled(classes[name](root, patches))


def epoch(name: str, root: Path, patches: int) -> Epoch:
    """What to measure."""
    torch.set_num_threads(1)
    batches = loader(name, root, patches)

    def run() -> Iterator[int]:
        for s2, s1 in batches:
            assert s2.dtype == s1.dtype == torch.float32
            assert s2.shape[1:] == (12, SIDE_PX, SIDE_PX)
            yield len(s2)

    return run
