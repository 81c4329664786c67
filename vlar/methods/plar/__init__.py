"""PLAR: learned prompts mixed for each clip, with prompts of motion, people and text."""
