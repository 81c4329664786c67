"""TranSVAE: the domain in one static latent, the action in a dynamic latent of each moment."""
