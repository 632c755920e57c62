"""Build STAC Browser, once, and put it into a published catalog.

    python -m catalog.browser               builds it into the cache; `catalog.serve --browser` then starts at once
    python -m catalog.browser CATALOG       and copies it to CATALOG/browser

A catalog with a browser/ needs no server of this project: any web server for files shows it.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from catalog.program import main


@dataclass(frozen=True)
class Browser:
    """Build STAC Browser, once, and put it into a published catalog that any web server for files then shows."""

    published: tyro.conf.Positional[Path | None] = None
    """Folder that catalog.publish wrote; gets a browser/ beside its catalog.json. Left out: only build."""


def run(options: Browser) -> None:
    """Build, and copy where a folder is named."""
    from catalog.serving.browser import put_browser
    from catalog.serving.browser_build import built_browser

    dist = built_browser()
    place = dist if options.published is None else put_browser(dist, options.published)
    Console(stderr=True).print(f"STAC Browser is at {place}", soft_wrap=True)


if __name__ == "__main__":
    main(Browser, run)
