"""Training of the policies with Stable-Baselines3 and sb3-contrib; needs the extra `train`.

`spec` says what is learned and from what, `pipeline` learns it, `__main__` is the command. Torch and
Stable-Baselines3 are imported inside functions, so that `--help` and the core install do without them.
"""
