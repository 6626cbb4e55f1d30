"""Every published variant of Simple Baselines, HRNet and the multi-view networks at full size: JAX against PyTorch.

Each runs in a process of its own, which tells how much memory it took at most.
"""

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch

import torch_ref
from configs import mpii_resnet, multiview
from jaxhar import infer, port, zoo
from parity_tests import cases
from parity_tests.tolerances import OUTPUTS, distance

pytestmark = pytest.mark.slow

#: On COCO in the larger size of the papers.
LARGE = (384, 288)
#: Network of the zoo -> settings that differ, of the variants that are not in the zoo itself.
VARIANTS: dict[str, list[dict[str, object]]] = {
    "multiview-h36m": [
        {"backbone": backbone, "depth": depth, "image_size": side, "fusion": fusion}
        for backbone, depth, side, _, fusion in multiview.VARIANTS.values()
    ],
    "simple-baseline-mpii": [{"depth": depth, "image_size": side} for depth, side in mpii_resnet.PUBLISHED],
    "simple-baseline-coco": [
        {"depth": depth, "image_size": size} for depth in (50, 101, 152) for size in ((256, 192), LARGE)
    ],
    "hrnet-w32-coco": [{"image_size": LARGE}],
    "hrnet-w48-coco": [{"image_size": LARGE}],
}
CASES = [
    (name, changes)
    for name, several in VARIANTS.items()
    for changes in several
    if replace(zoo.config(name), **changes) != zoo.config(name)  # type: ignore[type-var]
]
#: Bytes that the largest one may take.
MEMORY = 12 * 2**30


def compared(name: str, changes: dict[str, object]) -> tuple[float, int]:
    """The distance of the maps of one picture, or one moment in all views; and the memory of this process, in bytes."""
    config = replace(zoo.config(name), **changes)  # type: ignore[type-var]
    frames = cases.mosaic(config.inputs(1)["frames"].shape, seed=0)
    net = torch_ref.create(name, **changes)
    weights = cases.seeded_weights(config)
    state = port.to_torch(weights, config)
    wrong = net.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    assert not wrong.unexpected_keys and all(key.endswith("num_batches_tracked") for key in wrong.missing_keys)
    del state
    twins = torch_ref.infer(net, frames)["maps"]
    del net
    model = port.from_flat(weights, config)
    del weights
    far = distance(infer(model, frames)["maps"], twins)
    return far, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_jax_and_torch_give_the_same_maps(name, changes):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        far, memory = processes.submit(compared, name, changes).result()
    print(name, changes, f"{far:.1e}", f"{memory / 2**30:.1f} GiB")
    assert far < OUTPUTS
    assert memory < MEMORY
