"""Compiled drivers. The only folder that imports numba: reach it through `hybrid_bt.equations.compiled.choice`.

Nothing is computed here. The step functions of the other modules are made callable from compiled code and looped over,
without fastmath, so that the bits are CPython's.
"""
