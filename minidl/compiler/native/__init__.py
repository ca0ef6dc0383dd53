"""The second printer of programs, C: how steps become loops, and how a library of them is made.

Imported only when a user asks for C. What the steps of a program are is said in the folder above.
In the order in which things happen:

- ``primitives`` applies a recorded program again (``retrace``) under a ``trace``, which notes
  primitive steps: functions that C has a form for, others by what they are made of
  (``compositions``). A loop over time, of a recurrent layer or an ``F.scan``, is one step
  (``scans``), its derivative a scan backwards (``turns``).
- ``lowering`` makes ``operations`` on strided ``arrays`` of them, by the ``rules_*`` of each
  Function and the ``expressions`` of ufuncs; ``optimizers`` does so for updates. What turns leave is
  computed at its place (``stacking``), products of few columns are turned (``narrow``).
- ``loops`` says which operations share a loop, ``memory`` where arrays lie.
- ``c_printer`` and ``c_products`` write C, with ``literals``; ``mathfunctions`` picks functions out
  of ``native_math.h`` and ``native_turns.h``, whose ``polynomials`` stand apart; ``program`` puts all
  together.
- ``code`` is a program in use, ``arena`` the memory of a run; ``export`` writes a model as a file.
- ``toolchain`` finds a C compiler, ``processor`` says what it compiles for; ``cache`` keeps files on
  disk between runs, ``library`` compiles and loads through it.
"""
