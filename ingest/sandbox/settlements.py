"""Everything built in and around a frame, gathered: towns, buildings, roads, power.

Objects are drawn into pixels by area (`drawing`) and written to OpenStreetMap (`osmdata`) from the same coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingest.sandbox import buildings, roads
from ingest.sandbox.buildings import Boxes
from ingest.sandbox.noise import Frame
from ingest.sandbox.roads import Line
from ingest.sandbox.towns import F64, Towns, districts, join, near, quarries, town_centres, villages

_TOWNS_REACH_M = 4_000.0  # 1.5 radii of the largest town


@dataclass(frozen=True, slots=True)
class Works:
    """Everything built that may touch a frame."""

    towns: Towns
    houses: Boxes
    halls: Boxes
    estates: Boxes
    """Industrial areas."""
    substations: Boxes
    quarries: Towns
    """Discs; `angle_rad` is not used."""
    roads: Sequence[Line]
    power_lines: Sequence[Line]
    towers: F64
    """Pylons of the power lines, axes `tower xy`."""


def works(frame: Frame, seed: int) -> Works:
    """All that was built in and around a frame, in an order that does not depend on the frame."""
    centres = town_centres(frame, seed)
    hamlets = villages(frame, seed, centres)
    towns = join(districts(centres), hamlets)
    towns = towns.select(near(frame, towns.x_m, towns.y_m, _TOWNS_REACH_M))
    estates, substations = buildings.estates(centres), buildings.substations(centres)
    streets = [street for index in range(len(towns)) for street in roads.streets(frame, towns, index, seed)]
    power_lines = roads.power_lines(frame, substations, centres)
    return Works(
        towns=towns,
        houses=buildings.concatenate([buildings.houses(frame, towns, index, seed) for index in range(len(towns))]),
        halls=buildings.halls(estates),
        estates=estates,
        substations=substations,
        quarries=quarries(frame, seed),
        roads=[*roads.roads(frame, centres, hamlets, seed), *streets],
        power_lines=power_lines,
        towers=np.concatenate([roads.towers(line.points_m) for line in power_lines] or [np.empty((0, 2))]),
    )
