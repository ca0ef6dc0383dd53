"""Models as ONNX files."""

from minidl.interop.onnx import export

__all__ = ["export"]
