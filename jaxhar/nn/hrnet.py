"""HRNet (Sun et al., CVPR'19): branches of several resolutions side by side, to features at 1/4 of the image's size."""

from collections.abc import Sequence

import jax
from flax import nnx

from jaxhar.nn.resnet import EXPANSION, BasicBlock, Bottleneck, chain
from jaxhar.nn.symmetric import ConvNorm

Array = jax.Array

#: Channels of the stem and, inside its bottlenecks, of the first stage.
STEM = 64


class Exchange(nnx.Module):
    """Blocks in every branch, then a fusion: branch i becomes the sum of all branches, brought to its size.

    A branch of lower resolution is brought up by a 1x1 convolution and repeated pixels, one of higher resolution down
    by 3x3 convolutions with stride 2.

    Args:
      widths: channels of the branches, from the highest resolution to the lowest.
      units: number of blocks of every branch.
      outputs: number of branches that the fusion returns.
    """

    def __init__(self, widths: Sequence[int], units: int, outputs: int, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.branches = nnx.List(nnx.List(BasicBlock(w, w, **kw) for _ in range(units)) for w in widths)
        self.outputs = outputs
        # "j_i": from branch j to branch i
        self.up: nnx.Dict = nnx.Dict()
        self.down: nnx.Dict = nnx.Dict()
        for i in range(outputs):
            for j in range(len(widths)):
                if j > i:
                    self.up[f"{j}_{i}"] = ConvNorm(widths[j], widths[i], **kw)
                elif j < i:
                    steps = [*(widths[j] for _ in range(i - j)), widths[i]]
                    self.down[f"{j}_{i}"] = nnx.List(
                        ConvNorm(a, b, 3, 2, **kw) for a, b in zip(steps, steps[1:], strict=False)
                    )

    def __call__(self, xs: list[Array]) -> list[Array]:
        xs = [chain(branch, x) for branch, x in zip(self.branches, xs, strict=True)]
        return [nnx.relu(self._fused(xs, i)) for i in range(self.outputs)]

    def _fused(self, xs: list[Array], i: int) -> Array:
        total = None
        for j, x in enumerate(xs):
            if j > i:
                factor = 2 ** (j - i)
                x = self.up[f"{j}_{i}"](x).repeat(factor, axis=1).repeat(factor, axis=2)
            elif j < i:
                *before, last = self.down[f"{j}_{i}"]
                for conv in before:
                    x = nnx.relu(conv(x))
                x = last(x)
            total = x if total is None else total + x
        assert total is not None
        return total


class HRNet(nnx.Module):
    """Images (N, H, W, 3) -> features (N, H / 4, W / 4, width); sides are multiples of 32.

    Args:
      width: channels of the branch of highest resolution, 32 or 48 in the published networks, doubled in the others.
      modules: number of `Exchange` modules of the stages with 2, 3 and 4 branches.
      units: number of blocks of every branch, and of bottlenecks of the first stage.
    """

    def __init__(self, width: int, modules: Sequence[int] = (1, 4, 3), units: int = 4, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        wide = EXPANSION * STEM
        self.conv1, self.conv2 = ConvNorm(3, STEM, 3, 2, **kw), ConvNorm(STEM, STEM, 3, 2, **kw)
        self.layer1 = nnx.List(Bottleneck(wide if i else STEM, STEM, **kw) for i in range(units))
        widths = [width * 2**i for i in range(4)]
        self.transition1 = nnx.List([ConvNorm(wide, widths[0], 3, **kw), ConvNorm(wide, widths[1], 3, 2, **kw)])
        self.transition2 = nnx.List([ConvNorm(widths[1], widths[2], 3, 2, **kw)])
        self.transition3 = nnx.List([ConvNorm(widths[2], widths[3], 3, 2, **kw)])
        stages = []
        for branches, count in zip((2, 3, 4), modules, strict=True):
            ends = [branches] * (count - 1) + [1 if branches == 4 else branches]
            stages.append(nnx.List(Exchange(widths[:branches], units, end, **kw) for end in ends))
        self.stage2, self.stage3, self.stage4 = stages
        self.channels = width

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
        x = chain(self.layer1, x)
        xs = [nnx.relu(conv(x)) for conv in self.transition1]
        for stage, transition in ((self.stage2, self.transition2), (self.stage3, self.transition3), (self.stage4, ())):
            for module in stage:
                xs = module(xs)
            xs += [nnx.relu(conv(xs[-1])) for conv in transition]
        return xs[0]
