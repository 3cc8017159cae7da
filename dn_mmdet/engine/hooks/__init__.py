"""Hooks of the training loop, one file for each thing that they watch."""
