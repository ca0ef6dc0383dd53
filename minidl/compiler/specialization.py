"""A program in use: for arguments of one form, as long as what the function reaches is unchanged.

How it is recorded is in recording.py; whether it is right is asked in checks.py.
"""

from __future__ import annotations

from typing import Any

from minidl.autograd.function import record
from minidl.common.random import source
from minidl.compiler.agreement import bits_differ, more_than_rounding
from minidl.compiler.budget import gaps
from minidl.compiler.effects import Draws
from minidl.compiler.passes import optimized
from minidl.compiler.printer import Code
from minidl.compiler.program import Program, form
from minidl.compiler.reader import print_reader
from minidl.compiler.recording import MISS, Recording
from minidl.compiler.results import print_results
from minidl.compiler.runner import Runner


class Specialization:
    """A program for one form of arguments, wrapped as a differentiable Function."""

    def __init__(self, recording: Recording, backend: str = "numpy") -> None:
        call = recording.call
        self.mode = call.mode
        self.printer = "NumPy"
        native = self._native(recording) if backend == "c" else None
        self.program: Program = optimized(recording.program)
        self.runner = Runner(self.program, recording, native or Code(self.program))
        if native is not None:
            self.program = native.listing
        self.difference = bits_differ if native is None else more_than_rounding
        self.left = 0  # calls until the next check
        self.gaps = gaps()
        self.agreed = 0  # calls up to the last check that found the program right
        self.places = recording.states.places
        self.differentiated = bool(recording.floating)
        self.draws = recording.recorder.draws
        self.learns = recording.learns
        self.variables = recording.reach.variables if self.learns else []
        self.count = len(recording.recorder.inputs) - len(self.draws)
        self.optimizers = recording.recorder.optimizers
        self.progress = recording.recorder.progress
        owners = {id(p) for p in recording.owners}
        self.owned = bool(owners)
        self.cleared = [p for p in recording.recorder.cleared_first if id(p) not in owners]
        derived = bool(self.program.seeds)
        self.function = self.runner.function() if derived else None
        self.read = print_reader(recording, derived)
        self.give = print_results(recording, derived)
        self.simple = derived and len(recording.real) == 1
        self.simple = self.simple and not (recording.changes or self.learns) and recording.is_simple

    def _native(self, recording: Recording) -> Any:
        """The program in C, or None if there is no form of it in C."""
        from minidl.compiler.native.code import NotInC, loaded
        from minidl.compiler.native.toolchain import CompilerError

        try:
            native = loaded(recording)
        except NotInC as error:
            self.printer = f"NumPy, as there is no form in C for {error}"
            return None
        except CompilerError as error:
            self.printer = f"NumPy, as the C compiler failed: {error!s:.200}"
            return None
        self.printer = "C"
        return native

    @property
    def summary(self) -> str:
        """What there is to know of it, in a line."""
        forms = ", ".join([f"{v} {form(v)}" for v in self.program.inputs])
        return f"{len(self.program.steps)} steps, {self.runner.code.nbytes} bytes of buffers, for {forms}"

    # ---- a call ----------------------------------------------------------------------------------

    def inputs(self, args: Any, kwargs: Any) -> Any:
        """What the program reads, of these arguments; MISS if it does not serve for them now."""
        try:
            return self.read(*args, **kwargs) if kwargs else self.read(*args)
        except Exception:  # what it reads is gone, or has another form
            return MISS

    def generators(self) -> list[Any]:
        """The random generators that a call draws from."""
        sources = [source(draw.args[-1]) for draw in self.draws]
        return list({id(g): g for g in sources}.values())

    def run(self, inputs: Any) -> Any:
        """Run the program, store the layers' new states, return the result; MISS after an error.

        Nothing has changed then: eagerly the error has its line.
        """
        owners = ()
        if self.owned:
            owners = self.owners(inputs)
            inputs = inputs[: self.count]
        draws = Draws(self.generators()) if self.draws else None
        self.progress.wrote = False
        for p in self.cleared:  # now, as eagerly: two sets of gradients may be large
            p._grad = None
        try:
            if draws is not None:
                drawn = [d.function.forward(*d.args, **d.settings) for d in self.draws]
                inputs = (*inputs, *drawn)
            if self.function is None:
                given = self.runner.run(inputs)
            else:
                given = record(self.function, inputs, {})
        except Exception:
            if self.progress.wrote:
                raise
            if draws is not None:
                draws.restore()
            return MISS
        if self.simple:
            return given
        return self.give(given if type(given) is tuple else (given,), owners)

    def owners(self, inputs: Any) -> Any:
        """The Variables among the arguments that the program writes into."""
        return inputs[self.count :]
