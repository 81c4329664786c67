"""Objectives for labels with very different numbers of clips: balanced softmax and BRL."""
