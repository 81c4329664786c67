"""The default encoder: objects, scenes and, with lite-motion, bodies."""
