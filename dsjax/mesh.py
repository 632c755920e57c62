"""Devices as one mesh: the batch is split over it, the state is copied to all of it."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dsjax.errors import ConfigError


class Placement(NamedTuple):
    """Where arrays of a data-parallel program live."""

    batch: NamedSharding
    """First axis split over all devices of all processes."""
    replicated: NamedSharding


def place(batch_size: int) -> Placement:
    """One mesh of every device.

    Raises:
        ConfigError: the batch cannot be split evenly.
    """
    devices = jax.devices()
    if batch_size % len(devices):
        raise ConfigError(f"batch_size {batch_size} is not divisible by the {len(devices)} devices; change it")
    mesh = Mesh(np.array(devices), ("batch",))
    return Placement(NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec()))
