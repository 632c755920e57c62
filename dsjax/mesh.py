"""Devices as one mesh: the batch is split over it, the state is copied to all of it or split by a table of rules."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dsjax.config import HostsConfig
from dsjax.errors import ConfigError

_AXIS = "batch"
# Which axis of an array of the state is split over the devices when parameters are sharded, by the last name on its
# path; all other arrays, and those too small or of a length that does not divide, are copied to every device.
# Optimiser state and running means end in the names of the parameters they belong to.
SHARDED_AXIS = {"kernel": -1}  # outputs of a convolution or linear layer
_MIN_SIZE = 2**10  # below, gathering an array costs more than keeping it


class Placement(NamedTuple):
    """Where arrays of a data-parallel program live."""

    batch: NamedSharding
    """First axis split over all devices of all processes."""
    replicated: NamedSharding


def join_hosts(hosts: HostsConfig) -> None:
    """Make the processes of a run known to each other; before anything else touches a device.

    Raises:
        ConfigError: no cluster says who they are, and the settings do not either.
    """
    given = (hosts.coordinator, hosts.processes, hosts.process)
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ConfigError("of hosts.coordinator, hosts.processes and hosts.process give all three, or none")
    if hosts.process is not None and not 0 <= hosts.process < (hosts.processes or 0):
        raise ConfigError(f"hosts.process is {hosts.process} of {hosts.processes}; they count from 0")
    try:
        jax.distributed.initialize(hosts.coordinator, hosts.processes, hosts.process)
    except ValueError as error:
        raise ConfigError(
            f"--multihost found no cluster ({error}); start it under SLURM, Open MPI, GKE or on a TPU pod, or give "
            "--hosts.coordinator HOST:PORT --hosts.processes N --hosts.process I"
        ) from error


def place(batch_size: int, accumulate: int = 1, devices: Sequence[jax.Device] | None = None) -> Placement:
    """One mesh of these devices, all there are where None.

    Raises:
        ConfigError: the batch cannot be split evenly.
    """
    devices = jax.devices() if devices is None else devices
    if batch_size % (len(devices) * accumulate):
        parts = f" times {accumulate} parts" if accumulate > 1 else ""
        raise ConfigError(f"batch_size {batch_size} is not divisible by the {len(devices)} devices{parts}; change it")
    mesh = Mesh(np.array(devices), (_AXIS,))
    return Placement(NamedSharding(mesh, PartitionSpec(_AXIS)), NamedSharding(mesh, PartitionSpec()))


def place_state(state: Any, placement: Placement, *, sharded: bool) -> Any:
    """Shardings of the arrays of a state, a pytree like it: copies everywhere, or where `sharded` by `SHARDED_AXIS`."""
    mesh = placement.replicated.mesh

    def one(path: Any, leaf: Any) -> NamedSharding:
        axis = SHARDED_AXIS.get(str(getattr(path[-1], "key", ""))) if path else None
        if not sharded or axis is None or leaf.size < _MIN_SIZE or leaf.shape[axis] % mesh.size:
            return placement.replicated
        spec: list[str | None] = [None] * len(leaf.shape)
        spec[axis] = _AXIS
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(one, state)


def put(state: Any, placed: Any) -> Any:
    """Host arrays, the same in every process, as global arrays where `placed` says."""
    return jax.tree.map(
        lambda leaf, where: jax.make_array_from_callback(np.shape(leaf), where, lambda part: np.asarray(leaf)[part]),
        state, placed,
    )  # fmt: skip
