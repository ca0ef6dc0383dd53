"""The computation graph of a result as DOT text, or drawn by Graphviz."""

from minidl.interop.graph import dot, render

__all__ = ["dot", "render"]
