# What pytest leaves alone here: the scripts that need PyTorch, and one JAX. No fixtures.
collect_ignore = ["make_references.py", "make_torch_functions.py"]
