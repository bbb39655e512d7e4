"""The node that predicts every eval photo with a SavedModel. Scores nothing."""
