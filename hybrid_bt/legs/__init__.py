"""Legs: causal signals that return target exposures."""
