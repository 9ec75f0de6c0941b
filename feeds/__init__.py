"""Data sources and Backtrader feeds."""
