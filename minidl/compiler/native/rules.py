"""All rules for lowering: importing this file fills their table."""

from minidl.compiler.native import rules_elementwise, rules_products, rules_reductions, rules_shape
from minidl.compiler.native.lowering import RULES as ALL

__all__ = ["ALL", "rules_elementwise", "rules_products", "rules_reductions", "rules_shape"]
