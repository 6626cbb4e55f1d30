"""What `jaxhar plan` does: costs of training steps on many devices, from the compiled program, without the devices.

A child process compiles each step for virtual devices of the CPU. No array is made, and the data is generated, so that
neither weights nor data set are needed. The program is traced as for a GPU. The memory is that of XLA's plan for the
CPU, which computes bfloat16 in float32 and fuses less: an upper estimate for a GPU.

The shortest possible time of a step (the floor) is the largest of four: its multiply-adds at the peak rate of the chip;
the bytes that convolutions, matrix products and the optimizer read and write, each operand once, at the rate of the
memory; the bytes of the gradients that devices exchange, within a machine and between machines, at the rates of both.
"""

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxhar.core.batch import batch_size
from jaxhar.core.prepared import Generating, Prepared
from jaxhar.host import user_modules
from jaxhar.host.errors import Problem, Usage
from jaxhar.nn import cost, platform
from jaxhar.training import devices, stages
from jaxhar.training.experiment import Experiment, load
from jaxhar.training.step import Batches, TrainState, check
from jaxhar.weights.net import abstract

#: Options of XLA: those that cut the time of compiling, and do not change the plan of the memory; and `nn.platform`'s
#: for computing blocks again, which GPUs need not be told.
_XLA = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_disable_hlo_passes": "cse_barrier_expander",
}
_DATA = PartitionSpec("data")
#: Settings of data that choose among the records, of which few are generated.
_CHOOSING = {"fraction", "fraction_seed"}


@dataclass(frozen=True)
class Chip:
    """A GPU, by its data sheet.

    Attributes:
      products, half_products: multiply-adds a second of matrix products of float32 and of bfloat16 operands.
      memory: bytes. width: bytes a second from and to it.
      link, network: bytes a second to GPUs of the same machine and of others. together: GPUs of a machine.
    """

    name: str
    products: float
    half_products: float
    memory: float
    width: float
    link: float
    network: float
    together: int


#: NVIDIA's data sheet of the H100 SXM5: 494.7 and 989.4 TFLOP/s for TF32 (JAX's default for float32) and bfloat16,
#: 80 GB, 3.35 TB/s, 450 GB/s of NVLink each way; of the DGX H100: eight of them, 400 Gbit/s of network for each.
H100 = Chip("H100", 494.7e12 / 2, 989.4e12 / 2, 80e9, 3.35e12, 450e9, 50e9, 8)


@dataclass(frozen=True)
class Step:
    """A training step of a stage. Bytes and multiply-adds are those of one device.

    Attributes:
      name: of the experiment and the stage.
      batch: the global batch in words. examples: in it.
      half: whether products are of bfloat16 operands.
      state: memory of weights, statistics and optimizer. input: of the batch. rest: of all else, such as activations.
      kept: bytes read and written for the state: weights and optimizer once each way, gradients once.
      moved: bytes read and written by convolutions and matrix products.
      gradients: bytes of the gradients, which are summed over all devices.
      seconds: that compiling took.
    """

    name: str
    devices: int
    batch: str
    examples: int
    half: bool
    state: int
    input: int
    rest: int
    kept: int
    moved: int
    gradients: int
    multiply_adds: int
    seconds: float

    @property
    def memory(self) -> int:
        """Bytes of a device."""
        return self.state + self.input + self.rest

    def times(self, chip: Chip) -> dict[str, float]:
        """What bounds the step -> seconds that it takes at least."""
        near = min(self.devices, chip.together)
        machines = math.ceil(self.devices / chip.together)
        # Within a machine each GPU gets the sums of its share, then of all machines, then the shares of the others.
        return {
            "products": self.multiply_adds / (chip.half_products if self.half else chip.products),
            "memory": (self.kept + self.moved) / chip.width,
            "links": 2 * self.gradients * (near - 1) / near / chip.link,
            "network": 2 * self.gradients * (machines - 1) / machines / near / chip.network,
        }


def plan(spec: str, changes: Mapping[str, str], counts: Sequence[int]) -> list[Step]:
    """The steps of all stages of an experiment on these numbers of devices.

    Args:
      spec, changes: of the experiment, as of `experiment.load`.

    Raises:
      Usage, Problem: as from the experiment; a batch cannot be divided; the child process is killed.
    """
    if not counts or min(counts) < 1:
        raise Usage("--devices needs numbers of devices, e.g. 1,8,64")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={max(counts)}"
    environment = {
        **os.environ,
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "PYTHONPATH": os.pathsep.join(place for place in sys.path if place),
    }
    asked = {"spec": spec, "changes": dict(changes), "counts": list(counts), "modules": user_modules.loaded}
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        raise Problem(
            f"the process that compiles the steps ended with {done.returncode}; if it was killed, the memory of this "
            "machine did not suffice: try fewer devices or a smaller batch"
        )
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise (Usage if answer["usage"] else Problem)(answer["error"])
    return [Step(**step) for step in answer["steps"]]


def _child() -> None:
    """Answers a request on stdin by one line on stdout; everything else that is printed goes to stderr."""
    asked = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr), platform.planned():
        try:
            user_modules.load(asked["modules"])
            found = steps(load(asked["spec"], asked["changes"]), asked["counts"])
            answer: dict[str, object] = {"steps": [dataclasses.asdict(step) for step in found]}
        except Problem as problem:
            answer = {"error": str(problem), "usage": isinstance(problem, Usage)}
        except Exception as error:  # of XLA or of a network
            reason = " ".join(str(error).split())[:300]
            answer = {"error": f"a step cannot be compiled: {type(error).__name__}: {reason}", "usage": False}
    print(json.dumps(answer))


def steps(experiment: Experiment, counts: Sequence[int]) -> list[Step]:
    """As `plan`, in this process, which must have as many devices."""
    train, parts = experiment.train, stages.parts(experiment)
    meshes = [devices.mesh(count) for count in counts]
    with tempfile.TemporaryDirectory() as folder:
        data = experiment.data.generated() if isinstance(experiment.data, Generating) else experiment.data
        prepared = data.prepare(Path(folder))
        batches = [_shapes(prepared, part, counts) for part in parts]
    for part, batch in zip(parts, batches, strict=True):
        for mesh in meshes:
            devices.check_divides(batch, mesh, part.stage.optimizer.accumulate, train.norm_groups)
    return [_step(experiment, part, batch, mesh) for part, batch in zip(parts, batches, strict=True) for mesh in meshes]


def _shapes(prepared: Prepared, part: stages.Part, counts: Sequence[int]) -> Batches:
    """The shapes of the global batches of a stage, from as few examples as possible."""
    changes = {name: value for name, value in part.stage.data.items() if name not in _CHOOSING}
    part = dataclasses.replace(part, stage=dataclasses.replace(part.stage, data=changes))
    data = stages.data_of(prepared, part)
    for count in (*sorted(counts, reverse=True), 1):
        try:
            stream = data.train_stream(0, 0, count) if count > 1 else data.train_stream(0)
            break
        except Problem:
            if count == 1:
                raise
    try:
        drawn = next(stream)
    finally:
        stream.close()
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((count * a.shape[0], *a.shape[1:]), a.dtype), drawn)


def _step(experiment: Experiment, part: stages.Part, batches: Batches, mesh: Mesh) -> Step:
    half, recipe, count = experiment.train.mixed_precision, part.stage.optimizer, mesh.size
    net = abstract(part.stage.model, half)
    check(net, part.stage.losses, batches, part.augment(experiment.train.seed))
    optimizer = part.optimizer(net)
    opt = jax.eval_shape(optimizer.init, net.params)
    state = TrainState(net.params, net.stats, opt, jax.eval_shape(lambda: jnp.int32(0)))
    step = part.step(net, experiment.train)
    # The batch of one device may be smaller than the number of groups, which costs nothing.
    of_one = part.step(net, dataclasses.replace(experiment.train, norm_groups=1))

    name = f"{experiment.name} {part.name}".strip()
    print(f"compiling the step of {name} for {count} devices", flush=True)
    begin = time.monotonic()
    traced = step.trace(_placed(state, mesh, PartitionSpec()), _placed(batches, mesh, _DATA))
    memory = traced.lower().compile(_XLA).memory_analysis()
    seconds = time.monotonic() - begin
    own = jax.tree.map(lambda a: jax.ShapeDtypeStruct((a.shape[0] // count, *a.shape[1:]), a.dtype), batches)
    program = of_one.trace(state, own).jaxpr
    gradients = _bytes({name: array for name, array in net.params.items() if not recipe.frozen(name)})
    return Step(
        name,
        count,
        " + ".join(_words(name, batch) for name, batch in batches.items()),
        sum(batch_size(batch) for batch in batches.values()),
        half,
        _bytes(state),
        _bytes(own),
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
        - _bytes(state)
        - _bytes(own),
        2 * _bytes(state) + gradients,
        cost.bytes_moved(program.jaxpr),
        gradients,
        cost.multiply_adds(program.jaxpr),
        seconds,
    )


def _placed(tree, mesh: Mesh, spec: PartitionSpec):
    """The shapes with their places on the devices."""
    where = NamedSharding(mesh, spec)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), tree)


def _bytes(tree: object) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _words(stream: str, batch) -> str:
    frames = next((batch[key].shape[1] for key in ("frames", "points", "volume") if key in batch), 1)
    return f"{batch_size(batch)} {stream}" + (f" of {frames}" if frames > 1 else "")


if __name__ == "__main__":
    _child()
