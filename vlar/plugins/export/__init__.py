"""Models as ONNX graphs: the towers of an encoder as a folder, an adapted model as one file."""
