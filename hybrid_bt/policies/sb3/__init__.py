"""Models of Stable-Baselines3, read without running anything in them, and frozen.

Not imported from here: `commands.import_sb3` is the command, `policies.sb3.model` does the work and needs torch.
"""
