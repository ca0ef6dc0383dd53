# What pytest leaves alone here: the script that needs PyTorch and JAX. No fixtures.
collect_ignore = ["make_references.py"]
