"""What is learned, and from what: every number that moves a trained policy.

How each was chosen, on training and validation spans only: docs/research-log.md.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SacSpec(_Spec):
    """Training of the SAC leg of one mode."""

    action_low: float = Field(description="least exposure, in units of risk")
    action_high: float = Field(description="greatest exposure, in units of risk")
    risk_aversion: float = Field(ge=0, description="weight of the variance penalty in the reward")
    gamma: float = Field(gt=0, lt=1, description="discount per bar")
    net: tuple[int, ...] = Field(default=(64, 64), description="hidden layers of actor and critics")
    learning_rate: float = Field(default=1e-3, gt=0)
    first_entropy_coefficient: float = Field(
        default=0.01, gt=0, description="where SAC's automatic temperature begins; rewards per bar are small"
    )
    batch_size: int = Field(default=512, ge=1)
    n_envs: int = Field(default=32, ge=1, description="assets trained on side by side")
    gradient_steps: int = Field(default=1, ge=1, description="per step of all environments")
    learning_starts: int = Field(default=5_000, ge=0, description="steps of random actions before learning")
    episode_bars: int = Field(default=252, ge=2)
    rebalance_band: float = Field(default=0.05, ge=0, description="least change of exposure worth an order")
    cost_multiple: float = Field(
        default=5.0, ge=1, description="training pays the mode's spread and fee this many times over: fewer wiggles"
    )
    base_action: float = Field(default=0.5, description="action whose reward is subtracted")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.action_low < self.action_high:
            raise ValueError(f"action_low {self.action_low} must be below action_high {self.action_high}")
        return self


class GateSpec(_Spec):
    """Training of the regime gate of one mode."""

    risk_aversion: float = Field(ge=0, description="weight of the variance penalty in the reward")
    gamma: float = Field(default=0.9, gt=0, lt=1, description="discount per bar")
    gae_lambda: float = Field(default=0.9, gt=0, le=1)
    lstm_hidden: int = Field(default=32, ge=1)
    net: tuple[int, ...] = Field(default=(32,), description="hidden layers behind the LSTM")
    learning_rate: float = Field(default=3e-3, gt=0)
    entropy: float = Field(default=1e-3, ge=0, description="weight of the entropy bonus")
    first_sd: float = Field(default=1.0, gt=0, description="standard deviation of r around the policy's mean at first")
    n_steps: int = Field(default=128, ge=2, description="bars per environment and update")
    batch_size: int = Field(default=512, ge=1)
    n_epochs: int = Field(default=4, ge=1)
    n_envs: int = Field(default=16, ge=1)
    episode_bars: int = Field(default=504, ge=2)


SAC_SPECS = {
    "stable": SacSpec(action_low=0.0, action_high=1.0, risk_aversion=2.0, gamma=0.9),
    "aggressive": SacSpec(action_low=-0.25, action_high=1.0, risk_aversion=1.0, gamma=0.9),
}
GATE_SPECS = {
    "stable": GateSpec(risk_aversion=4.0),
    "aggressive": GateSpec(risk_aversion=1.0),
}
