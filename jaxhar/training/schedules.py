"""Learning-rate schedules that optax lacks."""

import jax.numpy as jnp
import optax


def lagging_cosine(init_value: float, decay_steps: int, warmup_steps: int = 0) -> optax.Schedule:
    """Linear warm-up and a cosine, as dmae_st's skeleton transformer is trained.

    The period of the cosine is the whole run, though it starts after the warm-up, so that the rate does not reach 0.
    The original sets the rate after a step, so that the first two steps have the rate of step 0.
    """

    def rate(count):
        step = jnp.maximum(count - 1, 0)
        fall = 0.5 * (1 + jnp.cos(jnp.pi * jnp.maximum(step - warmup_steps, 0) / decay_steps))
        rise = jnp.minimum(1, step / warmup_steps) if warmup_steps else 1.0
        return init_value * fall * rise

    return rate
