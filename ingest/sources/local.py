"""Any STAC API or static catalog whose assets are plain paths or URLs and named as on the Planetary Computer."""

from catalog.bands import S1, S2
from ingest.sources.profile import SCL, Source


def local(href: str) -> Source:
    """The profile for a STAC API (http address) or a static catalog (path of its catalog.json)."""
    return Source(
        name="local",
        stac_href=href,
        s2_collection="sentinel-2-l2a",
        s1_collection="sentinel-1-rtc",
        assets={band.name: band.name for band in S2} | {SCL: SCL} | {band.name: band.name.lower() for band in S1},
        cite_href=None,
        sign=lambda asset: asset,
        forget_token=lambda asset: None,
    )
