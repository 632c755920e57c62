"""Earth Search: Sentinel-2 Collection 1 as public COGs, a second platform beside the Planetary Computer.

There is no second Sentinel-1 RTC: Earth Search's sentinel-1-grd is not terrain corrected, so radar comes from the
Planetary Computer here too.
"""

from catalog.bands import S1
from ingest.sources.planetary_computer import planetary_computer, sign
from ingest.sources.profile import SCL, Source

EARTH_SEARCH_URL = "https://earth-search.aws.element84.com/v1"
# Asset keys of the collection's items, by this project's band names.
_ASSETS = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22", SCL: "scl",
}  # fmt: skip
_AZURE = ".blob.core.windows.net"


def earth_search() -> Source:
    """Sentinel-2 from `sentinel-2-c1-l2a`, Sentinel-1 from the Planetary Computer.

    Its pixels are as delivered by ESA, so the offset follows the baseline as it does on the Planetary Computer. In the
    older collection `sentinel-2-l2a` part of the scenes had the offset removed and part had not, and the flag that
    says which is not reliable (earth-search issues 66 and 71): it is not read.
    """
    radar = planetary_computer()
    return Source(
        name="earth-search",
        stac_href=EARTH_SEARCH_URL,
        s2_collection="sentinel-2-c1-l2a",
        s1_collection=radar.s1_collection,
        assets=_ASSETS | {band.name: radar.assets[band.name] for band in S1},
        cite_href=None,
        sign=lambda href: sign(href) if _AZURE in href else href,
        forget_token=lambda href: radar.forget_token(href) if _AZURE in href else None,
        s1_stac_href=radar.stac_href,
    )
