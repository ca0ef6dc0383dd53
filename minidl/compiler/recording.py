"""A program specialised for one argument signature, and what a call of it reads and gives.

When it serves for a call is asked in api.py; how it is recorded is in tracer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd import engine
from minidl.autograd.function import Function, identity, record
from minidl.autograd.modes import Mode, Switch, current
from minidl.autograd.variable import Variable
from minidl.compiler.buffers import Code
from minidl.compiler.guards import Guard
from minidl.compiler.nests import NotForPrograms, form_of, mapped, parts, taken_apart
from minidl.compiler.passes import optimized
from minidl.compiler.program import Program, Value
from minidl.compiler.tracer import Tracer


class Saved:
    """What a run keeps for its backward; its arena goes back to the pool afterwards."""

    __slots__ = ("arena", "kept", "pool")

    def __init__(self, arena: Any, kept: Any, pool: list[Any]) -> None:
        self.arena, self.kept, self.pool = arena, kept, pool

    def __del__(self) -> None:
        if self.arena is not None and len(self.pool) < 4:
            self.pool.append(self.arena)


def _call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        # In `a[i] = x` NumPy puts its own words, of a sequence, over ours.
        if isinstance(error.__cause__, RuntimeError):
            raise error.__cause__ from None
        raise


class Recording:
    """A program specialised for one argument signature, wrapped as a differentiable Function."""

    def __init__(
        self,
        function: Callable[..., Any],
        leaves: list[Any],
        objects: list[Any],
        rebuild: Any,
        mode: Mode,
    ) -> None:
        self.requiring: set[Value] = set()  # arguments and states that require a gradient
        self.mode, self.argument_forms = mode, list[Any]()  # of the last call
        self.guard = Guard([function, *objects])
        tracer = self.tracer = Tracer()
        arguments = [self._argument(tracer, i, x) for i, x in enumerate(leaves)]
        before = self._states()
        self.state_form = self._state_form()
        args, kwargs = rebuild(arguments)
        try:
            places = iter(range(len(parts(before))))

            def argument(part: Any) -> Any:
                return self._argument(tracer, next(places), part, "state")

            begin = [mapped(state, argument) for state in before]
            for (layer, name), value in zip(self.guard.states, begin):
                setattr(layer, name, value)
            with Switch(tracer=tracer):
                result = _call(function, args, kwargs)
            after = self._states()
        finally:
            for (layer, name), value in zip(self.guard.states, before):
                setattr(layer, name, value)
        if self.guard.undone():
            raise NotForPrograms("it writes to what it closes over")
        roots, self.result = taken_apart(result)
        self.changes: list[
            tuple[Any, str, Any, Any]
        ] = []  # layer, attribute, what it becomes, how to build that
        for (layer, name), old, new in zip(self.guard.states, begin, after):
            if new is not old:
                found, build = taken_apart(new)
                if name in getattr(layer, "_counted", ()):
                    self.changes.append((layer, name, new - old, None))
                else:
                    self.changes.append((layer, name, (len(roots), len(roots) + len(found)), build))
                    roots += found
        self._program(tracer, roots, mode, arguments)

    def _state_form(self) -> Any:
        return form_of(
            [
                getattr(x, name)
                for x, name in self.guard.states
                if name not in getattr(x, "_counted", ())
            ]
        )

    def _states(self) -> list[Any]:
        return [getattr(layer, name) for layer, name in self.guard.states]

    def _argument(self, tracer: Tracer, i: int, x: Any, kind: str = "argument") -> Any:
        # Arrays and leaves of its own: the function may close over the same ones, now but not later.
        raw = x._raw if isinstance(x, Variable) else x
        if isinstance(raw, np.ndarray):
            raw = raw.view() if raw.ndim else raw[()]
        value = tracer.new_input((kind, i), raw, plain=not isinstance(x, Variable))
        wants = isinstance(x, Variable) and x._node is not None
        if wants:
            self.requiring.add(value)
        return tracer.traced(raw, value, Variable(raw)._node if wants else None)

    def _program(self, tracer: Tracer, roots: list[Any], mode: Mode, arguments: list[Any]) -> None:
        outputs = [tracer.operand(root) for root in roots]
        self.outputs = outputs
        # Inputs in groups, which a call reads fast: arguments, states, what the guard finds, draws.
        order = {"argument": 0, "state": 1}
        found = []
        for value, source in tracer.inputs:
            if isinstance(source, tuple) and source and source[0] in ("argument", "state"):
                found.append((order[source[0]], source[1], value, source))
            elif isinstance(source, tuple):
                found.append((2, len(found), value, source))
            else:
                places = self.guard.where.get(id(source))
                found.append((3, len(found), value, places[0] if places else source))
        found.sort(key=lambda item: item[:2])
        self.values: list[Value] = [item[2] for item in found]
        self.arguments = [item[1] for item in found if item[0] == 0]
        self.state_places = [item[1] for item in found if item[0] == 1]
        self.draws = [item[3] for item in found if item[0] == 2]
        self.objects = [item[3] for item in found if item[0] == 3]
        self.first_draws: list[Any] | None = [draw[4] for draw in self.draws]
        self.look()
        self.differentiable = [
            v.dtype.kind == "f" and self._requires(item, mode)
            for v, item in zip(self.values, found)
        ]
        self.wanted_places = [i for i, want in enumerate(self.differentiable) if want]
        self.wanted = [v for v, want in zip(self.values, self.differentiable) if want]
        steps, self.tape = tracer.steps, tracer.tape.copy()
        real = [v for v in outputs if isinstance(v, Value)]
        program = Program(self.values, real, steps)
        self.floating = [
            v for v in dict.fromkeys(real) if v.dtype is not None and v.dtype.kind == "f"
        ]
        if mode.recording and self.wanted and self.floating:
            program.backward_at = len(steps)
            seeds = {v: Value("input", tracer.raws[v]) for v in self.floating}
            before = len(tracer.inputs)
            gradients = tracer.derive(seeds, self.wanted)
            for value, source in tracer.inputs[before:]:  # arrays that rules made
                self.values.append(value)
                self.objects.append(source)
                self.differentiable.append(False)
            self.look()
            if any(g is not None for g in gradients):
                self.floating = [v for v in self.floating if v in tracer.needed]
                program.seeds, program.gradients = [seeds[v] for v in self.floating], gradients
                program.steps = tracer.steps
        self.differentiated = tracer.needed if program.seeds else set()
        self.reached = tracer.reached(self.wanted) if program.seeds else {}
        self.program = optimized(program)
        self.masks = [
            (self.guard.where.get(id(mask), [mask])[0], before) for mask, before in tracer.masks
        ]
        self.code = Code(self.program)
        self.pool: list[Any] = []
        function = Function(self._forward, (), self._joint if program.seeds else None, "compiled")
        function.saves, function.owned = True, True
        function.equals = self._plain if program.seeds else None
        function.derived = bool(program.seeds)
        self.function = function
        self.real = real
        others = (
            self.draws
            or self.state_places
            or self.changes
            or self.arguments != list(range(len(arguments)))
        )
        one = (
            len(real) == 1 and self.outputs == real and not real[0].plain and self.result([0]) == 0
        )
        one = one and (not program.seeds or real[0] in self.differentiated)
        self.simple = (
            one and not others and bool(self.values)
        )  # nothing but one Variable of arguments and objects
        self.tracer = None  # type: ignore[assignment]  # lets go of the arrays of the recording

    def look(self) -> None:
        """Find what is read besides arguments: (it, its array, if it is a constant Variable)."""
        self.read = [self._object(o) for o in self.objects]
        self.seen: list[tuple[Any, Any, bool | None]] = [
            (x, x._raw, x._node is None) if isinstance(x, Variable) else (x, x, None)
            for x in self.read
        ]

    def _object(self, source: Any) -> Any:
        return self.guard.read(source) if type(source) is tuple else source

    def _requires(self, item: tuple[Any, ...], mode: Mode) -> bool:
        kind, _, value, source = item
        if value.plain or kind == 2:
            return False
        if kind == 3:
            return self._object(source)._node is not None
        return value in self.requiring

    # ---- a call ----------------------------------------------------------------------------------

    def fits(self, args: Sequence[Any]) -> bool:
        """Whether arguments, all of them arrays or Variables, are of the form of the last ones."""
        if len(args) != len(self.argument_forms):
            return False
        for a, f in zip(args, self.argument_forms):
            if type(a) is not f[0] or a.shape != f[1] or a.dtype is not f[2]:
                return False
            if len(f) == 4 and (a._node is None) is f[3]:
                return False
        return True

    def serves(self) -> bool:
        """Whether what the function closes over still has the form it had."""
        changed = self.guard.changed()
        if changed is None:
            return False
        for source, before in self.masks:
            if not np.array_equal(self._object(source), before):
                return False
        if changed:
            self.look()
        if self.guard.states and self._state_form() != self.state_form:
            return False
        for i, (x, raw, constant) in enumerate(self.seen):
            if constant is None:
                now = x
            else:
                now = x._raw
                if (x._node is None) is not constant:
                    return False
            if now is not raw:
                if now.shape != raw.shape or now.dtype != raw.dtype:
                    return False
                self.seen[i] = x, now, constant
        return True

    def run(self, leaves: Sequence[Any]) -> Any:
        """Run the program, store the layers' new states, return the result."""
        if self.simple:
            return record(self.function, (*leaves, *self.read), {})
        inputs = [leaves[i] for i in self.arguments]
        if self.state_places:
            carried = parts(self._states())
            inputs += [carried[i] for i in self.state_places]
        if self.draws:
            drawn, self.first_draws = self.first_draws, None
            inputs += drawn or [
                f.forward(*args, **settings) for _, f, args, settings, _ in self.draws
            ]
        inputs += self.read
        given = record(self.function, tuple(inputs), {}) if inputs else self._forward()[0]
        given = given if type(given) is tuple else (given,)
        results = dict(zip(self.real, given))
        outs = [self._result(v, results) for v in self.outputs]
        for layer, name, what, build in self.changes:
            setattr(
                layer,
                name,
                getattr(layer, name) + what if build is None else build(outs[what[0] : what[1]]),
            )
        return self.result(outs)

    def _result(self, v: Any, results: dict[Value, Any]) -> Any:
        if not isinstance(v, Value):
            return v
        found = results[v]
        if v.plain:
            return found._raw if isinstance(found, Variable) else found
        if isinstance(found, Variable):
            if v in self.differentiated:
                return found
            found = found._raw
        out = Variable.__new__(Variable)
        out._raw, out._node, out._leaf, out._grad, out.name = found, None, None, None, None
        return out

    def _forward(self, *inputs: Any) -> Any:
        try:
            arena = self.pool.pop()
        except IndexError:
            arena = self.code.arena()
        if self.code.errors:
            with np.errstate(over="ignore"):
                outputs, kept = self.code.forward(inputs, arena)
        else:
            outputs, kept = self.code.forward(inputs, arena)
        saved = Saved(arena, kept, self.pool)
        return (outputs if len(outputs) != 1 else outputs[0]), saved

    def _joint(self, g: Any, y: Any, saved: Saved, wanted: list[bool], *inputs: Any) -> Any:
        arena, saved.arena = saved.arena, None
        if arena is None:
            return self._again(g if type(g) is list else [g], wanted, inputs)
        reached, partly = self.reached[self.floating[0]], False
        if type(g) is list:
            by = dict(zip(self.real, g))
            forms = dict(zip(self.real, y))
            seeds = [np.zeros_like(forms[v])[()] if by[v] is None else by[v] for v in self.floating]
            seeded = [v for v in self.floating if by[v] is not None]
            reached = set().union(*[self.reached[v] for v in seeded])
            partly = len(seeded) < len(seeds)
        else:
            seeds = [g]
        if partly:
            with np.errstate(all="ignore"):
                found = self.code.backward(inputs, arena, saved.kept, seeds)
        else:
            found = self.code.backward(inputs, arena, saved.kept, seeds)
        if len(self.pool) < 4:
            self.pool.append(arena)
        if partly and not all(gx is None or np.isfinite(gx).all() for gx in found):
            return self._again(
                g, wanted, inputs
            )  # 0 * inf is nan: a zero seed does not silence an infinite derivative
        gradients: list[Any] = [None] * len(inputs)
        for i, gx in zip(self.wanted_places, found):
            gradients[i] = gx if self.values[i] in reached else None
        return gradients

    def _again(self, gs: Sequence[Any], wanted: list[bool], inputs: Sequence[Any]) -> list[Any]:
        """A second backward: the buffers are gone, so everything is computed again, eagerly."""
        copies = [Variable(x) if want else x for x, want in zip(inputs, wanted)]
        ys = self._plain(*copies)
        ys = ys if type(ys) is tuple else (ys,)
        seeds = {
            y._node: g
            for y, g in zip(ys, gs)
            if g is not None and getattr(y, "_node", None) is not None
        }
        targets: Any = {c._node for c, want in zip(copies, wanted) if want}
        found = engine.walk(seeds, targets=targets)
        gradients: list[Any] = [None] * len(inputs)
        for i, want in enumerate(wanted):
            if want:
                node: Any = copies[i]._node
                gradients[i] = found.get(node)
        return gradients

    def _plain(self, *inputs: Any) -> Any:
        """The same computation, application by application."""
        known: dict[Value, Any] = dict(zip(self.values, inputs))
        for entry in self.tape:
            args = tuple(known[v] if isinstance(v, Value) else v for v in entry.operands)
            with Switch(recording=entry.recorded and current().recording):
                y = record(entry.function, args, entry.settings)
            known.update(zip(entry.out, y) if type(entry.out) is tuple else [(entry.out, y)])
        ys = [known[v] for v in self.real]
        ys = [
            y if isinstance(y, Variable) else identity(Variable(y, requires_grad=False)) for y in ys
        ]
        return tuple(ys) if len(ys) != 1 else ys[0]
