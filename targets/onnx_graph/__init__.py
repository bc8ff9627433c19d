"""ONNX graphs, shared by the targets that start from one."""
