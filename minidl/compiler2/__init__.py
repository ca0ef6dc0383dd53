from minidl.compiler2.api import Compiled, compile
from minidl.compiler2.program import Program

__all__ = ["Compiled", "Program", "compile"]
