"""How initial weights are drawn."""

from minidl.layers.initializers import normal_over_sqrt_in

__all__ = ["normal_over_sqrt_in"]
