"""Arrays over the devices of all processes: batches in parts, states as copies."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxhar.core.batch import batch_size, checksum
from jaxhar.core.prepared import TrainStream
from jaxhar.host import cluster
from jaxhar.host.errors import Problem
from jaxhar.training.step import Batches, is_key

Tree = TypeVar("Tree")


def mesh(devices: int) -> Mesh:
    """A mesh with the axis "data" over `devices` devices of each process, 0 for all, in the order of the processes."""
    for process in range(cluster.count()):
        there = sum(device.process_index == process for device in jax.devices())
        if devices > there:
            machine = f"process {process}" if cluster.count() > 1 else "this machine"
            raise Problem(f"train.devices is {devices}, but {machine} has {there}")
    chosen = [
        device
        for process in range(cluster.count())
        for device in sorted(jax.devices(), key=lambda device: device.id)
        if device.process_index == process
    ]
    if devices:
        each = [[device for device in chosen if device.process_index == p][:devices] for p in range(cluster.count())]
        chosen = [device for own in each for device in own]
    return Mesh(np.array(chosen), ("data",), axis_types=(AxisType.Auto,))


def check_divides(batches: Batches, mesh: Mesh, accumulate: int, norm_groups: int) -> None:
    """Problem unless the batches of this process can be split over its devices, into parts and into groups."""
    devices = mesh.size // cluster.count()
    for stream, batch in batches.items():
        size = batch_size(batch)
        if size * cluster.count() % (accumulate * norm_groups):
            raise Problem(
                f"a batch of {size * cluster.count()} {stream} cannot be split into {accumulate} parts of "
                f"{norm_groups} groups; change its size, --config.optimizer.accumulate or --config.train.norm_groups"
            )
        if size % (devices * accumulate):
            parts = f" in {accumulate} parts" if accumulate > 1 else ""
            each = f" of each of {cluster.count()} processes" if cluster.count() > 1 else ""
            raise Problem(
                f"a batch of {size} {stream} cannot be split over {devices} devices{each}{parts}; "
                "change its size, or set --config.train.devices or --config.optimizer.accumulate"
            )


def check_apart(batches: Batches, alone: Callable[[], TrainStream]) -> None:
    """Problem if all processes drew the same batches because the data does not divide them.

    Args:
      alone: makes the stream of a single process. It is read only if the batches are equal, which they also are if the
        data repeats one example.
    """
    marks = cluster.gather({name: checksum(batch) for name, batch in batches.items()})
    if cluster.count() == 1 or any(mark != marks[0] for mark in marks):
        return
    stream = alone()
    whole = next(stream)
    stream.close()
    if any(batch_size(batch) == batch_size(whole[name]) for name, batch in batches.items()):
        raise Problem(
            f"all {cluster.count()} processes train on the same examples: train_stream of the data takes process_index "
            "and process_count, but does not divide its batches by them; see Prepared in jaxhar/core/prepared.py"
        )


def spread(batches: Batches, mesh: Mesh) -> Batches:
    """The global batches (B, ...) over all devices, from the rows of this process."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    if cluster.count() == 1:
        return jax.device_put(batches, sharding)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, np.asarray(rows)), batches)


def copies(tree: Tree, mesh: Mesh) -> Tree:
    """A copy of every array on every device; all processes must have the same arrays."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if cluster.count() == 1:
        return jax.device_put(jax.tree.map(jnp.copy, tree), sharding)

    def copy(array: jax.Array) -> jax.Array:
        if is_key(array):
            return jax.random.wrap_key_data(copy(jax.random.key_data(array)), impl=jax.random.key_impl(array))
        return jax.make_array_from_process_local_data(sharding, np.array(array))

    return jax.tree.map(copy, tree)


def own(tree: Tree) -> Tree:
    """The arrays of `copies` on the first device of this process."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)
