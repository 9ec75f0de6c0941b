"""Models of Stable-Baselines3, read without running anything in them, and frozen.

Not imported from here: `hybrid_bt.sb3.command` is the command, the rest works in a process of its own.
"""

__all__: list[str] = []
