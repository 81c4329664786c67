"""Trained comparisons of clips as sequences of frames: TRX, HyRSM, GgHM."""
