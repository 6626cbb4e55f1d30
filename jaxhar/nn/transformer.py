"""Transformer blocks (Vaswani et al., NeurIPS'17) in the forms of timm's, of masked autoencoders' and of minGPT's."""

import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.nn.attention import FEWEST, in_portions
from jaxhar.nn.linear import Draw, Linear, normal, xavier
from jaxhar.nn.platform import forms

Array = jax.Array

#: Attention of more tokens than this is computed for portions of this many queries, so that its memory grows with the
#: number of tokens and not with its square. On a CPU `jaxhar.nn.attention` has smaller portions, for its cache.
QUERIES = 512


class Activation(StrEnum):
    """Activation of the inner layer of a block."""

    RELU = "relu"
    GELU = "gelu"
    #: The approximation by a hyperbolic tangent.
    GELU_TANH = "gelu_tanh"


class Form(StrEnum):
    """Published forms of a block, which differ in details."""

    #: Epsilon 1e-6; a dropout after each of the two layers of the perceptron.
    TIMM = "timm"
    #: As TIMM, with initial weights by Glorot's rule.
    MAE = "mae"
    #: Epsilon 1e-5; one dropout after them; smaller initial weights of the layers before the sums.
    MINGPT = "mingpt"


_ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    Activation.RELU: nnx.relu,
    Activation.GELU: partial(nnx.gelu, approximate=False),
    Activation.GELU_TANH: partial(nnx.gelu, approximate=True),
}
_EPSILON = {Form.TIMM: 1e-6, Form.MAE: 1e-6, Form.MINGPT: 1e-5}


class Fixed(nnx.Variable):
    """An array that belongs to the weights of a network and is not trained."""


def layer_norm(width: int, form: Form = Form.TIMM, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer normalisation with the epsilon of the form."""
    return nnx.LayerNorm(width, epsilon=_EPSILON[form], use_fast_variance=False, rngs=rngs)


def attend(
    query: Array, key: Array, value: Array, padding: Array | None, drop: Callable[[Array], Array] | None = None
) -> Array:
    """Softmax attention.

    Args:
      query, key, value: (B, N, heads, width).
      padding: (B, N) bool, tokens that no token attends to; at least one must not be. None for no such tokens.
      drop: dropout of the attention weights (B, heads, queries, N).

    Returns:
      (B, N, heads, width).
    """
    batch, tokens = query.shape[:2]
    together = forms().attention_scores
    # Several devices share the clips, which the portions would take one after another.
    if together and drop is None and tokens >= FEWEST and jax.device_count() == 1:
        return in_portions(query, key, value, padding, together)
    scale = query.shape[-1] ** -0.5
    dtype = jnp.promote_types(query.dtype, jnp.float32)

    def portion(queries: Array) -> Array:
        scores = jnp.einsum("bqhd,bkhd->bhqk", scale * queries, key, preferred_element_type=dtype)
        if padding is not None:
            scores += jnp.where(padding, -jnp.inf, 0).astype(dtype)[:, None, None]
        weights = jax.nn.softmax(scores)
        weights = weights if drop is None else drop(weights)
        return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value, preferred_element_type=dtype)

    count = math.ceil(tokens / QUERIES)
    if count == 1 or drop is not None:
        return portion(query)
    size = math.ceil(tokens / count)
    padded = jnp.pad(query, [(0, 0), (0, count * size - tokens), (0, 0), (0, 0)])
    parts = jnp.moveaxis(padded.reshape(batch, count, size, *query.shape[2:]), 1, 0)
    found = jnp.moveaxis(jax.lax.map(jax.checkpoint(portion), parts), 0, 1)
    return found.reshape(batch, count * size, *query.shape[2:])[:, :tokens]


class Attention(nnx.Module):
    """Attention of tokens to each other; see `Block`."""

    def __init__(
        self,
        width: int,
        heads: int,
        drop: float,
        attention_drop: float,
        bias: bool,
        inner: Draw,
        outer: Draw,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.qkv = Linear(width, 3 * width, inner, bias, dtype=dtype, rngs=rngs)
        self.proj = Linear(width, width, outer, dtype=dtype, rngs=rngs)
        self.attention_dropout = nnx.Dropout(attention_drop, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.heads = heads

    def shares(self, x: Array) -> Array:
        """How much each token attends to each other, (B, N, N), the mean over the heads; the rows sum to 1."""
        query, key, _ = jnp.moveaxis(self._qkv(x), (2, 3), (0, 1))  # each (heads, B, N, width)
        dtype = jnp.promote_types(query.dtype, jnp.float32)

        def add(total: Array, head: tuple[Array, Array]) -> tuple[Array, None]:
            query, key = head
            scores = jnp.einsum("bqd,bkd->bqk", query.shape[-1] ** -0.5 * query, key, preferred_element_type=dtype)
            return total + jax.nn.softmax(scores) / self.heads, None

        batch, tokens, _ = x.shape
        return jax.lax.scan(add, jnp.zeros((batch, tokens, tokens), dtype), (query, key))[0]

    def _qkv(self, x: Array) -> Array:
        batch, tokens, _ = x.shape
        return self.qkv(x).reshape(batch, tokens, 3, self.heads, -1)

    def __call__(self, x: Array, padding: Array | None) -> Array:
        batch, tokens, width = x.shape
        query, key, value = jnp.moveaxis(self._qkv(x), 2, 0)
        drops = self.attention_dropout.rate > 0 and not self.attention_dropout.deterministic
        found = attend(query, key, value, padding, self.attention_dropout if drops else None)
        return self.dropout(self.proj(found.reshape(batch, tokens, width)))


class Perceptron(nnx.Module):
    """Two linear layers with an activation between them; see `Block`."""

    def __init__(
        self,
        width: int,
        inner: int,
        activation: Activation,
        drop: float,
        form: Form,
        first: Draw,
        second: Draw,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.fc1 = Linear(width, inner, first, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(inner, width, second, dtype=dtype, rngs=rngs)
        self.inner_dropout = None if form is Form.MINGPT else nnx.Dropout(drop, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        x = _ACTIVATIONS[self.activation](self.fc1(x))
        x = x if self.inner_dropout is None else self.inner_dropout(x)
        return self.dropout(self.fc2(x))


class Block(nnx.Module):
    """Attention and a perceptron, each after a norm and with a shortcut: tokens (B, N, C) -> (B, N, C).

    Args:
      ratio: width of the perceptron's inner layer over C.
      drop: dropout after the layers. attention_drop: of the attention weights. path_drop: probability that an example
        takes the shortcut alone.
      depth: number of blocks of the network, for the initial weights of minGPT's form.
      qkv_bias: whether queries, keys and values have biases.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        ratio: float = 4,
        activation: Activation = Activation.GELU,
        drop: float = 0.0,
        attention_drop: float = 0.0,
        path_drop: float = 0.0,
        form: Form = Form.TIMM,
        depth: int = 1,
        qkv_bias: bool = True,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        inner = int(ratio * width)
        if form is Form.MAE:
            qkv, proj, first, second = (xavier(*ends) for ends in ((width, width),) * 2 + ((width, inner),) * 2)
        else:
            last = normal(0.02 / math.sqrt(2 * depth) if form is Form.MINGPT else 0.02)
            qkv, proj, first, second = normal(0.02), last, normal(0.02), last
        self.norm1, self.norm2 = (layer_norm(width, form, rngs=rngs) for _ in range(2))
        self.attn = Attention(width, heads, drop, attention_drop, qkv_bias, qkv, proj, **kw)
        self.mlp = Perceptron(width, inner, activation, drop, form, first, second, **kw)
        self.path1, self.path2 = (nnx.Dropout(path_drop, broadcast_dims=(1, 2), rngs=rngs) for _ in range(2))

    def __call__(self, x: Array, padding: Array | None = None) -> Array:
        """`padding` as in `attend`."""
        x = x + self.path1(self.attn(self.norm1(x), padding))
        return x + self.path2(self.mlp(self.norm2(x)))
