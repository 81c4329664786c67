"""A CLIP trained whole on video, frames mixed inside its image tower; FROSTER's usual student."""
