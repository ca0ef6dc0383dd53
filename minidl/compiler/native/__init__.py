"""Programs in C: the compiler that makes libraries of them, the cache, the mathematical functions.

Imported only when a user asks for C. What the steps of a program are is said in the folder above.

- ``toolchain`` finds a C compiler, ``processor`` says what it compiles for.
- ``cache`` keeps files on disk between runs; ``library`` compiles and loads through it.
- ``mathfunctions`` picks functions out of ``native_math.h`` and ``native_turns.h``, with the
  ``polynomials`` that they need.
"""
