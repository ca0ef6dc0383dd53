"""Ways to other programs: PyTorch's state dicts, DLPack, ONNX, scikit-learn, Graphviz. All are optional."""
