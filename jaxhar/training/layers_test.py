"""Tables of learning rates and weight decay by layer; their values are compared with the originals' elsewhere."""

from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.optim import Optimizer

PATHS = (
    "encoder.cls_token",
    "encoder.pos_embed_spatial",
    "encoder.patch_embed.kernel",
    "encoder.blocks.0.attn.qkv.kernel",
    "encoder.blocks.1.norm1.scale",
    "encoder.norm.bias",
    "head.linear.kernel",
)


def test_the_learning_rate_falls_from_the_head_to_the_tokens():
    assert [*Optimizer(table=layer_decay(2, 0.5)).multipliers(PATHS).values()] == [0.125] * 3 + [0.25, 0.5, 1, 1]


def test_matrices_decay_and_tokens_in_pretraining_alone():
    for tokens, value in ((True, 0.1), (False, 0.0)):
        found = Optimizer(decay=weight_decay(0.1, tokens)).decays(PATHS)
        assert [*found.values()] == [value, value, 0.1, 0.1, 0.0, 0.0, 0.1]
    assert Optimizer(decay=weight_decay(0.1, norms=True)).decays(PATHS)["encoder.blocks.1.norm1.scale"] == 0.1
