"""``vlar export`` writes the towers of a model as ONNX graphs; ``onnx:FOLDER`` runs them."""
