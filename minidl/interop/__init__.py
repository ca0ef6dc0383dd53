"""Ways to other programs, all optional: PyTorch, DLPack, ONNX, scikit-learn, Graphviz."""
