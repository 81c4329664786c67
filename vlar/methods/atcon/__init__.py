"""ATCoN: a model adapts to unlabelled clips of another domain without its source clips."""
