"""How to install what is optional: said once, for all error messages.

What is imported where is not said here.
"""


def install(extra: str) -> str:
    """What to run for an extra; minidl is on no package index yet, so its name alone finds nothing.

    >>> install("onnx")
    "in minidl's folder run: pip install '.[onnx]'"
    """
    return f"in minidl's folder run: pip install '.[{extra}]'"
