"""Speed and memory of layers, networks and the data pipeline, compared with XLA, PyTorch, ONNX Runtime and Keras."""
