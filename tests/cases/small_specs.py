"""Trainings that take a second, which several tests share."""

from __future__ import annotations

from hybrid_bt.train.spec import GateSpec, SacSpec

SAC = SacSpec(net=(8, 8), batch_size=32, learning_starts=32, n_groups=2, n_symbols=2, window_bars=20)
GATE = GateSpec(lstm_hidden=8, net=(8,), n_steps=16, batch_size=16, n_epochs=1, n_envs=2, window_bars=20)
