"""Frozen policies: files of inert data, asking them, making them."""
