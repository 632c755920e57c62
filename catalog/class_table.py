"""The label classes of a corpus as one CSV table, for spreadsheets, R and plots."""

import csv
import io

from catalog.labels import CORINE, OSM, WORLDCOVER, Colour
from catalog.stats import BandStatistics

NAME = "classes.csv"
_COLUMNS = ("array", "value", "code", "name", "colour", "pixels")


def class_table(statistics: BandStatistics) -> str:
    """One line a class, CORINE first: its value in the array (for `osm` the bit's), code, name, colour and pixels."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(_COLUMNS)
    for cover in CORINE:
        pixels = statistics.corine.get(cover.code, 0)
        table.writerow(("corine", cover.grid_code, cover.code, cover.name, _hex(cover.colour), pixels))
    for osm in OSM:
        table.writerow(("osm", osm.value, osm.bit, osm.name, _hex(osm.colour), statistics.osm.get(osm.name, 0)))
    for world in WORLDCOVER if statistics.worldcover else ():
        pixels = statistics.worldcover.get(world.value, 0)
        table.writerow(("worldcover", world.value, world.value, world.name, _hex(world.colour), pixels))
    return stream.getvalue()


def _hex(colour: Colour) -> str:
    return "#{:02X}{:02X}{:02X}".format(*colour)
