"""Transformer over skeletons in PyTorch, with the modules and names of dmae_st."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class SkeletonTransformerConfig:
    """Settings, with the fields of jaxhar.models.skeleton.network.SkeletonTransformerConfig."""

    num_frames: int = 32
    num_persons: int = 2
    num_joints: int = 25
    width: int = 128
    depth: int = 6
    heads: int = 8
    mlp_ratio: float = 4
    act: str = "gelu"
    num_actions: int = 60
    positions: str = "learned"
    block: str = "timm"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    path_dropout: float = 0.0


class Attention(nn.Module):
    """Attention of tokens to each other, but not to padding."""

    def __init__(self, config: SkeletonTransformerConfig):
        super().__init__()
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.heads, self.drop, self.attention_drop = config.heads, config.dropout, config.attention_dropout

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        drop = self.attention_drop if self.training else 0.0
        x = F.scaled_dot_product_attention(query, key, value, ~padding[:, None, None], drop)
        return F.dropout(self.proj(x.transpose(1, 2).flatten(2)), self.drop, self.training)


class Perceptron(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: SkeletonTransformerConfig):
        super().__init__()
        inner = int(config.mlp_ratio * config.width)
        self.fc1, self.fc2 = nn.Linear(config.width, inner), nn.Linear(inner, config.width)
        self.act, self.drop, self.inner_drop = config.act, config.dropout, config.block == "timm"

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        x = F.relu(x) if self.act == "relu" else F.gelu(x, approximate="none" if self.act == "gelu" else "tanh")
        x = F.dropout(x, self.drop, self.training and self.inner_drop)
        return F.dropout(self.fc2(x), self.drop, self.training)


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and with a shortcut."""

    def __init__(self, config: SkeletonTransformerConfig, path_drop: float):
        super().__init__()
        eps = _epsilon(config)
        self.norm1, self.norm2 = nn.LayerNorm(config.width, eps), nn.LayerNorm(config.width, eps)
        self.attn, self.mlp = Attention(config), Perceptron(config)
        self.path_drop = path_drop

    def path(self, x: Tensor) -> Tensor:
        """Drops whole examples."""
        ones = torch.ones(x.shape[0], 1, 1, dtype=x.dtype)
        return x * F.dropout(ones, self.path_drop, self.training)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = x + self.path(self.attn(self.norm1(x), padding))
        return x + self.path(self.mlp(self.norm2(x)))


def _epsilon(config: SkeletonTransformerConfig) -> float:
    return 1e-6 if config.block == "timm" else 1e-5


class SkeletonTransformer(nn.Module):
    """The network: points (B, T, M, J, 3) in metres, 0 for a missing joint -> action (1, B, A)."""

    def __init__(self, config: SkeletonTransformerConfig):
        super().__init__()
        self.config = config
        width = config.width
        tokens = 1 + config.num_frames * config.num_persons * config.num_joints
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        trained = config.positions in ("learned", "hybrid")
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width), requires_grad=trained)
        self.embed_layer = nn.Linear(3, width)
        paths = torch.linspace(0, config.path_dropout, config.depth).tolist()
        self.blocks = nn.ModuleList(Block(config, path) for path in paths)
        self.norm = nn.LayerNorm(width, _epsilon(config))
        self.head = nn.Linear(width, config.num_actions)

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        config = self.config
        table: Tensor = self.pos_embed
        if config.positions == "hybrid":  # the sinusoids are not trained
            learned = 3 * (config.width // 4)
            table = torch.cat([table[..., :learned], table[..., learned:].detach()], -1)
        frames, persons = points.shape[1:3]
        grid = table[0, 1:].unflatten(0, (config.num_frames, config.num_persons, config.num_joints))
        tokens = points.flatten(1, 3)
        x = self.embed_layer(tokens) + grid[:frames, :persons].flatten(0, 2)
        first = (self.cls_token + table[:, :1]).expand(x.shape[0], -1, -1)  # len(x) would be a constant in ONNX
        padding = F.pad((tokens == 0).all(-1), (1, 0))
        x = F.dropout(torch.cat([first, x], 1), config.dropout, self.training)
        for block in self.blocks:
            x = block(x, padding)
        return {"action": self.head(self.norm(x[:, 0]))[None]}


def build(config: SkeletonTransformerConfig) -> nn.Module:
    """The network of these settings."""
    return SkeletonTransformer(config)


#: The networks by the names of jaxhar.zoo.
ZOO = {"skeleton-transformer-ntu": SkeletonTransformerConfig()}
