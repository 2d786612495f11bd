"""The door to whatever runs the model."""
