"""Every pure step and its NamedTuple, one numeric file each. Imports `hybrid_bt.errors` alone."""
