"""How initial weights are drawn."""

from minidl.layers.initializers import (
    he_normal,
    he_uniform,
    normal,
    normal_over_sqrt_in,
    ones,
    orthogonal,
    truncated_normal,
    xavier_normal,
    xavier_uniform,
    zeros,
)

# fmt: off
__all__ = [
    "he_normal", "he_uniform", "normal", "normal_over_sqrt_in", "ones", "orthogonal", "truncated_normal",
    "xavier_normal", "xavier_uniform", "zeros",
]
# fmt: on
