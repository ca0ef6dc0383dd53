"""Compiled functions: a call is recorded, becomes a list of operations, and is printed as NumPy.

The public name is ``minidl.compile``; nothing below this folder knows of it. In the order in which
things happen:

- ``api`` asks which program serves for a call; if none does, ``recording`` runs the function once.
- ``reach`` walks over what the function depends on, by the ``names`` that its code uses and the
  ``kinds`` of objects, and makes ``conditions`` of it; ``places`` are where a call leaves something
  for the next, a ``snapshot`` tells what else it wrote.
- ``standin`` is what the function gets for plain arrays, ``scalars`` for numbers that change;
  ``recorder`` notes what it applies, of the ``values`` that it knows, ``derivative`` the rules of
  the backward, ``writes`` new values of Variables, ``updates`` whole training steps, ``rates`` what
  they do with an optimizer's settings; ``effects`` sees what it does besides.
- ``program`` is the list of operations, ``passes`` shorten it.
- ``turns`` finds that a scan's turns are one program, ``scan`` runs the loop; ``tape`` applies steps
  again for second derivatives.
- ``plan`` gives values their memory, ``blocks`` takes long elementwise runs apart, ``lines`` writes
  one step, ``printer`` all of them.
- ``reader`` prints how a program reads its inputs, ``results`` what it leaves and gives, ``forms``
  knows the forms that these can have; ``specialization`` is a program in use, ``runner`` its buffers and backward.
- ``checks`` compares program and function at the calls that ``budget`` chooses.

docs/compile_internals.md follows one function through all of it.
"""

from minidl.compiler.api import Compiled, compile
from minidl.compiler.program import Program

__all__ = ["Compiled", "Program", "compile"]


def __dir__() -> list[str]:
    """What completion shows: the public names."""
    return __all__
