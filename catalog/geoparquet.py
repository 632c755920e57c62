"""What GeoParquet 1.1 says of a table whose column `geometry` is WKB in longitude and latitude."""

import json

GEO = json.dumps(
    {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},  # no crs: longitude and latitude
    }
)
"""The value of the file's metadata under `geo`."""
