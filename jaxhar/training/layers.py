"""Learning rates and weight decay by the layers of a vision transformer, as tables of an `Optimizer`."""

from jaxhar.training.optim import Table

#: Biases, and weights of layer normalisations.
_BIASES, _NORMS = r".*\.bias", r".*\.scale"
#: Class tokens, mask tokens, and positions.
_TOKENS = r".*\.(?:cls_token|pos_embed\w*)"


def layer_decay(depth: int, decay: float, trunk: str = "encoder") -> Table:
    """Multipliers of the learning rate that fall by `decay` with every layer down from the head.

    The tokens and their positions lie below the `depth` blocks of the trunk (Bao et al., BEiT, ICLR'22).
    """
    blocks = ((rf"{trunk}\.blocks\.{number}\..*", decay ** (depth - number)) for number in range(depth))
    return (*blocks, (rf"{trunk}\.(?!norm\.).*", decay ** (depth + 1)), (".*", 1.0))


def weight_decay(value: float, tokens: bool = True, norms: bool = False) -> Table:
    """Weight decay of matrices, not of biases.

    Args:
      tokens: whether class tokens and positions decay; they do in pretraining, and not in fine-tuning.
      norms: whether the weights of layer normalisations decay.
    """
    spared = [_BIASES, *(() if norms else (_NORMS,)), *(() if tokens else (_TOKENS,))]
    return (*((pattern, 0.0) for pattern in spared), (".*", value))
