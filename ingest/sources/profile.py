"""What ingest must know of a provider, and how its items become scenes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import shapely
import shapely.geometry

from catalog.bands import S1, S2
from catalog.patch import Scene, parse_time
from ingest.errors import SourceError

SCL = "SCL"
_UNSURE_OFFSET = "earthsearch:boa_offset_applied"


@dataclass(frozen=True, slots=True)
class Source:
    """One provider of Sentinel-1 RTC and Sentinel-2 L2A scenes."""

    name: str
    stac_href: str
    """A STAC API, or a static catalog."""
    s2_collection: str
    s1_collection: str
    assets: Mapping[str, str]
    """Asset key by band name (and "SCL")."""
    cite_href: str | None
    """API address under which items are cited, whichever server answered; None: an item's own self link."""
    sign: Callable[[str], str]
    """Makes an href readable, right before it is opened."""
    forget_token: Callable[[str], None]
    """Drops what is cached for an href, so that the next `sign` asks the provider again."""
    s1_stac_href: str | None = None
    """The API that has the Sentinel-1 scenes, where it is another one."""

    def api_of(self, collection: str) -> str:
        """Address of the API or static catalog that has a collection."""
        other = self.s1_stac_href if collection == self.s1_collection else None
        return other or self.stac_href

    def bands_of(self, collection: str) -> tuple[str, ...]:
        """Names that a scene of a collection must have assets for."""
        if collection == self.s1_collection:
            return tuple(band.name for band in S1)
        return (*(band.name for band in S2), SCL)


def scene_of(item: Mapping[str, Any], source: Source) -> Scene | None:
    """A raw STAC item as a scene; None where an asset this project needs is missing (HH+HV radar, say).

    Raises:
        SourceError: an item of a collection whose offset cannot be known.
    """
    properties, assets = item["properties"], item["assets"]
    if _UNSURE_OFFSET in properties:
        raise SourceError(
            f"{item['id']} is of Earth Search's sentinel-2-l2a, where the offset of baseline 04.00 was removed from "
            f"some scenes and {_UNSURE_OFFSET} does not tell which; use --source earth-search (sentinel-2-c1-l2a)"
        )
    wanted = {name: source.assets[name] for name in source.bands_of(item["collection"])}
    if any(key not in assets for key in wanted.values()):
        return None
    geometry = shapely.geometry.shape(item["geometry"])
    return Scene(
        item_id=item["id"],
        collection=item["collection"],
        acquired=parse_time(properties.get("datetime") or properties["start_datetime"]),
        platform=properties["platform"],
        orbit_state=properties.get("sat:orbit_state"),
        relative_orbit=properties.get("sat:relative_orbit"),
        epsg=_epsg_of(item, next(iter(wanted.values()))),
        footprint=geometry,
        hrefs={name: assets[key]["href"] for name, key in wanted.items()},
        cloud_cover=properties.get("eo:cloud_cover"),
        baseline=properties.get("s2:processing_baseline"),
        tile=_tile_of(properties),
        item_href=_cited(item, source),
        strip=strip_key(item),
    )


def strip_key(item: Mapping[str, Any]) -> str:
    """What two processings of the same pixels have in common: the tile, datatake and start of the data strip.

    Two items of one tile and time are mostly not duplicates but two data strips, halves of one datatake with
    complementary pixels; they differ in the sensing start inside `s2:datastrip_id`. Other items have only their id.
    """
    properties = item["properties"]
    strip = properties.get("s2:datastrip_id")
    if strip is None:
        return str(item["id"])
    sensing_start = next(part for part in strip.split("_") if part.startswith("S20"))
    datatake = properties["s2:datatake_id"].rpartition("_N")[0]  # the part after it is the baseline
    tile = properties.get("s2:mgrs_tile") or properties["grid:code"].removeprefix("MGRS-")
    return f"{tile} {datatake} {sensing_start}"


def processing_age(item: Mapping[str, Any]) -> tuple[float, str, str]:
    """Baseline, generation time and id: of several processings of one data strip the largest is the newest."""
    properties = item["properties"]
    baseline = float(properties.get("s2:processing_baseline") or 0)
    return baseline, properties.get("s2:generation_time") or "", str(item["id"])


def _cited(item: Mapping[str, Any], source: Source) -> str | None:
    if source.cite_href is not None:
        return f"{source.cite_href}/collections/{item['collection']}/items/{item['id']}"
    return next((link["href"] for link in item.get("links", ()) if link["rel"] == "self"), None)


def _epsg_of(item: Mapping[str, Any], asset: str) -> int:
    """From `proj:epsg` (projection 1) or `proj:code` (projection 2), on the item or on its asset."""
    for fields in (item["properties"], item["assets"][asset]):
        if fields.get("proj:epsg"):
            return int(fields["proj:epsg"])
        if fields.get("proj:code"):
            return int(fields["proj:code"].rpartition(":")[2])
    return 0


def _tile_of(properties: Mapping[str, Any]) -> str | None:
    tile = properties.get("s2:mgrs_tile") or properties.get("grid:code", "").removeprefix("MGRS-")
    return tile or None
