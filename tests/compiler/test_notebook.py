"""What a notebook shows of compiled functions and programs: HTML, with what users named escaped."""

import numpy as np
import pytest

import minidl
from minidl import functions as F


def test_a_compiled_function_says_how_it_runs():
    def twice(x):
        return x * 2.0

    f = minidl.compile(twice)
    assert "<b>compiled twice</b>" in f._repr_html_() and "not called yet" in f._repr_html_()
    f(np.ones(3))
    page = f._repr_html_()
    assert f.status() in page and page.count("<details>") == 1
    assert str(f.program(np.ones(3))) in page


def test_names_and_steps_are_escaped():
    f = minidl.compile(lambda x: F.where(x > 0, x, -x).sum())
    f(np.ones(3))
    page = f._repr_html_()
    assert "compiled &lt;lambda&gt;" in page and "<lambda>" not in page


def test_a_program_is_its_text():
    program = minidl.compile(F.tanh).program(np.ones(3))
    page = program._repr_html_()
    assert str(program) in page and f"{len(program.steps)} steps" in page
    assert page.startswith("<div") and page.endswith("</div>")


def test_one_that_runs_eagerly_says_why():
    def listed(x):
        return iter([x])

    f = minidl.compile(listed)
    with pytest.warns(UserWarning, match="listed"):
        f(np.ones(3))
    assert "eager: " in f._repr_html_()
