"""The same pixels by another way: stackstac, where it is installed."""

import json
import warnings

import numpy as np
import pytest

from catalog.bands import S1, S2
from catalog.grid import cell_at
from ingest.images import Access
from ingest.read import SceneReader
from ingest.sandbox.server import Sandbox
from ingest.sources import planetary_computer
from ingest.sources.profile import scene_of

GSD_M = {band.name: max(10, min(band.gsd_m, 20)) for band in S2 + S1} | {"SCL": 20}


@pytest.fixture(scope="module")
def served(tiny_archive):
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        yield tiny_archive


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("collection", ["sentinel-2-l2a", "sentinel-1-rtc"])
def test_stackstac_finds_the_same_pixels_in_every_band(served, collection):
    """At 10 m, where it repeats coarser pixels, as a loader of this project's corpus does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports, which are older than what they import
        stackstac = pytest.importorskip("stackstac")
        import dask

    facts = json.loads((served / "archive.json").read_text())["regions"][0]
    grid = cell_at(facts["epsg"], facts["window_m"][0] + 2000, facts["window_m"][1] + 2000)
    item = json.loads(sorted(served.glob(f"items/{collection}/*.json"))[0].read_text())
    source = planetary_computer()
    scene = scene_of(item, source)
    names = list(scene.hrefs)
    keys = [source.assets[name] for name in names]
    item["assets"] = {key: {**item["assets"][key], "href": source.sign(item["assets"][key]["href"])} for key in keys}
    with warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
        warnings.simplefilter("ignore")
        stack = stackstac.stack(
            [item], assets=keys, epsg=grid.epsg, bounds=grid.bounds_m, resolution=10, rescale=False, errors_as_nodata=()
        )
        cube = stack.compute().values[0]
    with SceneReader(scene, Access(source)) as reader:
        for name, theirs in zip(names, cube, strict=True):
            ours = reader.read(name, grid, GSD_M[name]).astype(np.float64)
            step = GSD_M[name] // 10
            repeated = np.repeat(np.repeat(ours, step, axis=0), step, axis=1)
            np.testing.assert_array_equal(
                np.nan_to_num(theirs), np.where(repeated == -32768, 0, repeated), err_msg=name
            )
            assert (repeated > 0).mean() > 0.9
