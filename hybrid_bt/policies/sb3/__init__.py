"""Models of Stable-Baselines3, read without running anything in them, and frozen.

Not imported from here: `hybrid_bt.policies.sb3.model` does the work and needs torch.
"""
