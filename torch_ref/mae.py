"""Masked autoencoders of videos and images and their classifiers in PyTorch, with the names of dmae_st and mae."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class MaeConfig:
    """Settings, with the fields of jaxhar.models.mae.config.MaeConfig."""

    image_size: int = 224
    num_frames: int = 16
    patch: int = 16
    t_patch: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    positions: str = "separate"
    cls_token: bool = True
    qkv_bias: bool = True
    pixels: str = "kinetics"
    decoder_width: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    pred_frames: int = 8
    norm_pixels: bool = True
    mask_ratio: float = 0.9
    masking: str = "random"
    temperature: float = 1.0
    temperature_end: float = 1.0
    temperature_steps: int = 0
    flip_mask: bool = False
    per_step: bool = True
    mask_schedule: str = "constant"
    mask_ratio_end: float = 0.9
    mask_steps: int = 0


@dataclass(frozen=True)
class ImageMaeConfig(MaeConfig):
    """Settings, with the fields of jaxhar.models.mae.config.ImageMaeConfig."""

    num_frames: int = 1
    t_patch: int = 1
    pred_frames: int = 1
    positions: str = "sincos"
    decoder_depth: int = 8
    mask_ratio: float = 0.75
    pixels: str = "imagenet"


@dataclass(frozen=True)
class VideoClassifierConfig:
    """Settings, with the fields of jaxhar.models.mae.config.VideoClassifierConfig."""

    image_size: int = 224
    num_frames: int = 16
    patch: int = 16
    t_patch: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    positions: str = "separate"
    cls_token: bool = True
    qkv_bias: bool = True
    pixels: str = "kinetics"
    num_actions: int = 400
    pool: str = "mean"
    drop_first: bool = False
    head_norm: bool = False
    dropout: float = 0.3
    path_dropout: float = 0.1


@dataclass(frozen=True)
class ImageClassifierConfig(VideoClassifierConfig):
    """Settings, with the fields of jaxhar.models.mae.config.ImageClassifierConfig."""

    num_frames: int = 1
    t_patch: int = 1
    positions: str = "joint"
    pixels: str = "imagenet"
    num_actions: int = 1000
    dropout: float = 0.0


def cosine(step: int | None, start: float, end: float, length: int) -> float:
    """From `start` to `end` by half a cosine of `length` steps; `end` where the step is None."""
    now = length if step is None else min(step, length)
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * now / length))


def patchify(frames: Tensor, time: int, side: int) -> Tensor:
    """Frames (B, T, 3, H, W) -> patches (B, N, time * side * side * 3), channels last within a patch."""
    x = frames.unflatten(1, (-1, time)).unflatten(4, (-1, side)).unflatten(6, (-1, side))
    return x.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4).flatten(1, 3)


class Apart(nn.Module):
    """Attention whose queries, keys and values have layers of their own."""

    def __init__(self, width: int, heads: int, bias: bool):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Fused(nn.Module):
    """The same with one layer for the three."""

    def __init__(self, width: int, heads: int, bias: bool):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and with a shortcut, which whole examples take at random."""

    def __init__(self, width: int, heads: int, bias: bool, fused: bool, path_drop: float = 0.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = (Fused if fused else Apart)(width, heads, bias)
        self.mlp = Perceptron(width)
        self.path_drop = path_drop

    def path(self, x: Tensor) -> Tensor:
        return x * F.dropout(torch.ones(x.shape[0], 1, 1, dtype=x.dtype), self.path_drop, self.training)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.path(self.attn(self.norm1(x)))
        return x + self.path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """A convolution as wide as its stride."""

    def __init__(self, patch: tuple[int, ...], width: int):
        super().__init__()
        convolution = nn.Conv2d if len(patch) == 2 else nn.Conv3d
        self.proj = convolution(3, width, patch, patch)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) -> (B, N, C)."""
        x = frames[:, 0] if isinstance(self.proj, nn.Conv2d) else frames.transpose(1, 2)
        return self.proj(x).flatten(2).transpose(1, 2)


class Network(nn.Module):
    """What both networks have: an encoder with its positions, and those of a decoder."""

    def __init__(self, config: MaeConfig | VideoClassifierConfig, path_dropout: float = 0.0):
        super().__init__()
        self.config, self.pixels = config, config.pixels
        self.image = isinstance(config, ImageMaeConfig | ImageClassifierConfig)
        self.side, self.steps = config.image_size // config.patch, config.num_frames // config.t_patch
        patch = (config.patch, config.patch) if self.image else (config.t_patch, config.patch, config.patch)
        self.patch_embed = PatchEmbed(patch, config.width)
        self.add_positions("", config.width)
        paths = torch.linspace(0, path_dropout, config.depth).tolist()
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.qkv_bias, self.image, path) for path in paths
        )
        self.norm = nn.LayerNorm(config.width, 1e-6)

    def add_positions(self, prefix: str, width: int) -> None:
        """Tables of positions and a class token."""
        config, places = self.config, self.side**2
        cls = int(config.cls_token)
        sizes = {"pos_embed": cls + places * self.steps}
        if config.positions == "separate":
            sizes = {"pos_embed_spatial": places, "pos_embed_temporal": self.steps}
            sizes |= {"pos_embed_class": 1} if cls else {}
        if cls and not (self.image and prefix):
            sizes["cls_token"] = 1
        for name, rows in sizes.items():
            fixed = name == "pos_embed" and config.positions == "sincos"
            table = self.sincos(width) if fixed else torch.zeros(1, rows, width)
            self.register_parameter(prefix + name, nn.Parameter(table, requires_grad=not fixed))

    def sincos(self, width: int) -> Tensor:
        """The fixed table of sines and cosines."""

        def waves(position: Tensor, channels: int) -> Tensor:
            half = channels // 2
            angle = position.double()[:, None] / 10000 ** (torch.arange(half) / half)
            return torch.cat([angle.sin(), angle.cos()], 1)

        axes = [torch.arange(n) for n in ((1 if self.image else self.steps), self.side, self.side)]
        time, row, column = (axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij"))
        of_time = 0 if self.image else width // 4
        half = (width - of_time) // 2
        parts = [waves(time, of_time)] if of_time else []
        table = torch.cat([*parts, waves(column, half), waves(row, half)], 1)
        return F.pad(table, (0, 0, int(self.config.cls_token), 0)).float()[None]

    def table(self, prefix: str = "") -> tuple[Tensor, Tensor]:
        """Positions of the tokens (1, N, C) and of the class token, 0 without one."""
        cls = int(self.config.cls_token)
        if self.config.positions == "separate":
            space, time = (self.get_parameter(f"{prefix}pos_embed_{axis}") for axis in ("spatial", "temporal"))
            first = self.get_parameter(f"{prefix}pos_embed_class") if cls else torch.zeros(())
            return (time[:, :, None] + space[:, None]).flatten(1, 2), first
        table = self.get_parameter(f"{prefix}pos_embed")
        return table[:, cls:], table[:, :1]

    def with_class(self, x: Tensor, first: Tensor | None, position: Tensor) -> Tensor:
        """Puts a class token in front, if there is one."""
        return x if first is None else torch.cat([(first + position).expand(x.shape[0], -1, -1), x], 1)

    def encode(self, x: Tensor) -> Tensor:
        """Tokens with their positions -> after the blocks, the class token first."""
        x = self.with_class(x, self.get_parameter("cls_token") if self.config.cls_token else None, self.table()[1])
        for block in self.blocks:
            x = block(x)
        return x

    def coverage(self, cover: Tensor) -> Tensor:
        """(B, T, H, W) -> (B, T', S)."""
        size = (self.config.t_patch, self.config.patch, self.config.patch)
        return F.avg_pool3d(cover.to(self.patch_embed.proj.weight.dtype)[:, None], size, size)[:, 0].flatten(2)


class MaskedAutoencoder(Network):
    """The network of pretraining: frames (B, T, 3, H, W) -> patches (1, B, N, P), removed (1, B, N)."""

    config: MaeConfig

    def __init__(self, config: MaeConfig):
        super().__init__(config)
        width = config.decoder_width
        self.add_positions("decoder_", width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_embed = nn.Linear(config.width, width)
        self.decoder_blocks = nn.ModuleList(
            Block(width, config.decoder_heads, config.qkv_bias, True) for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width, 1e-6)
        self.per_token = config.t_patch * config.pred_frames // config.num_frames
        self.decoder_pred = nn.Linear(width, self.per_token * config.patch**2 * 3)

    def order(
        self, frames: Tensor, noise: Tensor | None, cover: Tensor | None, step: int | None = None
    ) -> tuple[Tensor, int]:
        """The order of the tokens, and how many are kept."""
        config, tokens = self.config, self.steps * self.side**2
        if noise is None:
            fixed = torch.from_numpy(np.random.default_rng(0).random(tokens, np.float32))
            noise = torch.rand(frames.shape[0], tokens) if self.training else fixed.expand(frames.shape[0], -1)
        ratio = config.mask_ratio
        if config.mask_schedule == "cosine":
            ratio = cosine(step, ratio, config.mask_ratio_end, config.mask_steps)
        elif config.mask_schedule == "random" and self.training:  # drawn otherwise than in JAX
            ratio += (config.mask_ratio_end - ratio) * float(torch.rand(()))
        kept = int(tokens * (1 - ratio))
        if config.masking == "tube":
            noise = noise[:, : self.side**2].repeat(1, self.steps)
            kept = int(self.side**2 * (1 - ratio)) * self.steps
        elif config.masking != "random":
            assert cover is not None
            covered = self.coverage(cover)
            covered = 1 - covered if config.flip_mask else covered
            temperature = config.temperature
            if config.temperature_steps:
                temperature = cosine(step, temperature, config.temperature_end, config.temperature_steps)
            preference = temperature if config.masking == "directed_v2" else 1 / temperature
            logits = covered * max(-60.0, min(60.0, preference))
            logits = logits if config.per_step else logits.flatten(1)[:, None]
            noise = noise.log() + logits.log_softmax(-1).flatten(1)
        if torch.compiler.is_exporting():  # ONNX has no stable sort, but its TopK takes the first of equal ones first
            return noise.topk(tokens, dim=1, largest=False).indices, kept
        return noise.argsort(stable=True, dim=1), kept

    def latent(self, frames: Tensor, shuffled: Tensor, kept: int) -> Tensor:
        """The kept tokens after the encoder and its norm, the class token first."""
        x = self.patch_embed(frames) + self.table()[0]
        seen = x.gather(1, shuffled[:, :kept, None].expand(-1, -1, x.shape[-1]))
        return self.norm(self.encode(seen))

    def decode(self, latent: Tensor, shuffled: Tensor, kept: int) -> Tensor:
        """The reconstructed patches."""
        x, cls = self.decoder_embed(latent), int(self.config.cls_token)
        unseen = self.mask_token.expand(x.shape[0], shuffled.shape[1] - kept, -1)
        restore = shuffled.argsort(1)[..., None].expand(-1, -1, x.shape[-1])
        table, of_class = self.table("decoder_")
        every = torch.cat([x[:, cls:], unseen], 1).gather(1, restore) + table
        first = None
        if cls:
            first = x[:, :1] if self.image else self.get_parameter("decoder_cls_token")
        x = self.with_class(every, first, of_class)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, cls:]

    def forward(
        self, frames: Tensor, noise: Tensor | None = None, cover: Tensor | None = None, step: int | None = None
    ) -> dict[str, Tensor]:
        shuffled, kept = self.order(frames, noise, cover, step)
        found = self.decode(self.latent(frames, shuffled, kept), shuffled, kept)
        removed = (shuffled.argsort(1) >= kept).to(found.dtype)
        return {"patches": found[None], "removed": removed[None]}

    def target(self, frames: Tensor) -> Tensor:
        """The patches to be reconstructed."""
        config = self.config
        chosen = torch.linspace(0, config.num_frames - 1, config.pred_frames).long()
        patches = patchify(frames[:, chosen], self.per_token, config.patch)
        if not config.norm_pixels:
            return patches
        return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()

    def loss(self, preds: dict[str, Tensor], frames: Tensor) -> Tensor:
        """Mean squared error of the removed patches."""
        error = ((preds["patches"][-1] - self.target(frames)) ** 2).mean(-1)
        removed = preds["removed"][-1]
        return (error * removed).sum() / removed.sum()


class VideoClassifier(Network):
    """The network of fine-tuning: frames (B, T, 3, H, W) -> action (1, B, A)."""

    config: VideoClassifierConfig

    def __init__(self, config: VideoClassifierConfig):
        super().__init__(config, config.path_dropout)
        if self.image and config.pool != "class":
            self.fc_norm = self.norm
            del self.norm
        self.head: nn.Module = nn.Linear(config.width, config.num_actions)
        if config.head_norm:
            self.head = nn.Sequential(nn.BatchNorm1d(config.width, 1e-6, affine=False), self.head)

    def forward(self, frames: Tensor, cover: Tensor | None = None) -> dict[str, Tensor]:
        config = self.config
        every = self.encode(self.patch_embed(frames) + self.table()[0])
        x = every[:, int(config.cls_token or config.drop_first) :]
        if config.pool == "mean":
            x = x.mean(1)
        elif config.pool == "class":
            x = every[:, 0]
        else:
            assert cover is not None
            inside = (self.coverage(cover).flatten(1) >= 0.2).to(x.dtype)[:, -x.shape[1] :, None]
            count = x.shape[1] if config.pool == "covered" else inside.sum(1).clamp(min=1)
            x = (x * inside).sum(1) / count
        norm = self.fc_norm if hasattr(self, "fc_norm") else self.norm
        x = F.dropout(norm(x), config.dropout, self.training)
        return {"action": self.head(x)[None]}


def build(config: MaeConfig | VideoClassifierConfig) -> nn.Module:
    """The network of these settings."""
    return VideoClassifier(config) if isinstance(config, VideoClassifierConfig) else MaskedAutoencoder(config)


_SIZES = {"b": (768, 12, 12, 16), "l": (1024, 24, 16, 16), "h": (1280, 32, 16, 14)}


def _of_size(config, size: str):
    width, depth, heads, patch = _SIZES[size]
    return replace(config, width=width, depth=depth, heads=heads, patch=patch)


#: The networks by the names of jaxhar.zoo.
ZOO = {
    **{f"mae-st-vit-{size}": _of_size(MaeConfig(), size) for size in "blh"},
    **{f"mae-vit-{size}": _of_size(ImageMaeConfig(), size) for size in "bl"},
    **{f"mae-st-vit-{size}-k400": _of_size(VideoClassifierConfig(), size) for size in "blh"},
    **{f"mae-vit-{size}-in1k": _of_size(ImageClassifierConfig(), size) for size in "bl"},
}
