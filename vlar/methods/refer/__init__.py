"""RefAtomNet: the action of the person that a sentence points at (Peng et al. 2024)."""
