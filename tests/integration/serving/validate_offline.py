"""Run stac-api-validator against a server on this machine, with schemas from files instead of the network.

    python validate_offline.py FOLDER_OF_SCHEMAS [options of stac-api-validator]

What the validator would fetch from anywhere but this machine is answered from pystac's own copies of the core schemas
and from the folder; an address that neither knows is an error.
"""

import io
import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac
import requests

_BUNDLED = Path(pystac.__file__).parent / "validation" / "jsonschemas"
_EXTENSION = re.compile(r"https://stac-extensions\.github\.io/([^/]+)/(v[^/]+)/schema\.json")


def local_schema(href: str, folder: Path) -> bytes:
    """Text of the schema at an address."""
    address, name = href.partition("#")[0], Path(urlsplit(href).path).name
    if found := _EXTENSION.fullmatch(address):
        extension, version = found.groups()
        whole = f"stac-extensions.github.io__{extension}__{version}__schema.json"
        candidates = [folder / whole, folder / f"tag_{extension}_{version}.json", folder / f"HEAD_{extension}.json"]
    elif "schemas.stacspec.org" in address:
        candidates = [_BUNDLED / "stac-spec" / "v1.1.0" / name]
    elif "geojson.org" in address:
        candidates = [_BUNDLED / "geojson" / name]
    else:
        candidates = [folder / address.partition("://")[2].replace("/", "__")]
    for path in candidates:
        if path.is_file():
            return path.read_bytes()
    raise FileNotFoundError(f"no local copy of {href}")


def on_this_machine(href: str) -> bool:
    return urlsplit(href).hostname == "127.0.0.1"


def stay_offline(folder: Path) -> None:
    """Answer every request that leaves this machine from files."""
    ask, open_url = requests.Session.request, urllib.request.urlopen

    def request(session: requests.Session, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        if on_this_machine(url):
            return ask(session, method, url, *args, **kwargs)
        answer = requests.Response()
        answer.status_code, answer.url = 200, url
        answer._content = local_schema(url, folder)
        answer.headers["content-type"] = "application/json"
        return answer

    def urlopen(asked: Any, *args: Any, **kwargs: Any) -> Any:
        url = asked if isinstance(asked, str) else asked.full_url
        if on_this_machine(url):
            return open_url(asked, *args, **kwargs)
        return io.BytesIO(local_schema(url, folder))

    class Local(pystac.stac_io.DefaultStacIO):
        def read_text_from_href(self, href: str) -> str:
            return super().read_text_from_href(href) if on_this_machine(href) else local_schema(href, folder).decode()

    pystac.StacIO.set_default(Local)
    requests.Session.request = request  # type: ignore[method-assign,assignment]
    urllib.request.urlopen = urlopen


if __name__ == "__main__":
    stay_offline(Path(sys.argv.pop(1)))
    json.loads(local_schema("https://geojson.org/schema/Feature.json", Path()))  # fails here, should pystac move it
    from stac_api_validator.__main__ import main

    main()
