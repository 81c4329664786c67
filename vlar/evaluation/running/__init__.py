"""What all protocols share: cards, features, the guard of the test clips, run files, reports."""
