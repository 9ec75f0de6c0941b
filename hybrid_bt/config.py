"""Every number that moves a result, with its unit, and where it comes from.

A mode (`modes/*.toml`) is overridden by a user's TOML file, which is overridden by flags. The models are frozen and
refuse unknown keys; `run.json` writes back all of them.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hybrid_bt.accounting import OrderRules
from hybrid_bt.advice import LARGEST_REGIME_WEIGHT, ManagerParams
from hybrid_bt.bar_rate import EXCHANGE_SESSIONS, decision_rate
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.features import WARMUP_BARS
from hybrid_bt.fusion import FusionParams
from hybrid_bt.guard import GuardParams
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.legs.kalman import PairRules
from hybrid_bt.legs.sac import RiskUnit
from hybrid_bt.risk import RiskParams
from hybrid_bt.spread import SpreadParams

__all__ = ["MODES", "Config", "load_config", "mode_text", "overridden"]

MODES = ("stable", "aggressive")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AccountConfig(_Section):
    """Account and orders."""

    cash: float = Field(gt=0, description="start value, currency")
    lot: float = Field(ge=0, description="smallest tradable number of shares; 0 allows fractions")
    eps_trade: float = Field(ge=0, description="least |change of position| worth an order, shares")
    rebalance_band: float = Field(ge=0, lt=1, description="least |change of target| worth an order, fraction of equity")
    leverage: float = Field(ge=1, description="position value per unit of own cash that the broker allows")


class CostConfig(_Section):
    """Costs; a side is one buy or one sell."""

    spread_bps: float = Field(ge=0, lt=1e4, description="bid-ask spread, bps of notional; half is paid per side")
    fee_bps: float = Field(ge=0, lt=1e4, description="fee, bps of notional per side")
    borrow_bps_per_year: float = Field(ge=0, description="interest on shorts, bps of entry notional per year")
    financing_bps_per_year: float = Field(ge=0, description="interest on the borrowed part of levered longs, bps/year")


class KalmanConfig(_Section):
    """The filter, the spread and the pair rules."""

    enabled: bool = Field(description="use the Kalman leg")
    alpha_var_per_bar: float = Field(ge=0, description="drift variance of the intercept, squared log price per bar")
    beta_var_per_bar: float = Field(ge=0, description="drift variance of the hedge ratio, per bar")
    noise_var: float = Field(gt=0, description="variance of the observation noise, squared log price")
    fit: bool = Field(description="recalibrate the variances per pair on the bars before the trading start")
    spread_half_life_bars: float = Field(gt=0, description="memory of the spread, bars")
    scale_half_life_bars: float = Field(gt=0, description="memory of the spread's scale, bars")
    entry_z: float = Field(gt=0, description="|z| at which a pair opens, standard deviations")
    exit_z: float = Field(description="z, towards the mean, at which it closes, standard deviations")
    stop_z: float = Field(gt=0, description="|z| at which it is given up, standard deviations")
    max_hold_bars: int = Field(ge=1, description="bars after which it is given up")
    orphan_bars: int = Field(ge=1, description="bars that one side may miss before an open pair is closed")
    min_hedge_ratio: float = Field(gt=0, description="smallest hedge ratio that opens a pair")
    max_hedge_ratio: float = Field(gt=0, description="largest hedge ratio that opens a pair")
    gross_exposure: float = Field(gt=0, description="sum of |target| with every pair open, fraction of equity")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.exit_z < self.entry_z < self.stop_z:
            raise ValueError(
                f"exit_z < entry_z < stop_z must hold; got {self.exit_z} < {self.entry_z} < {self.stop_z}; "
                "mend the one that is out of order"
            )
        if not self.min_hedge_ratio < self.max_hedge_ratio:
            raise ValueError(
                f"min_hedge_ratio {self.min_hedge_ratio} must be below max_hedge_ratio {self.max_hedge_ratio}"
            )
        return self


class SacConfig(_Section):
    """The SAC leg."""

    enabled: bool = Field(description="use the SAC leg")
    file: str = Field(description="frozen policy; `package:NAME` is one that ships with hybrid_bt")
    risk_unit: float = Field(gt=0, description="volatility per year of an action of 1")
    exposure_cap: float = Field(
        gt=0, description="largest exposure of an action of 1, times the asset's share of equity"
    )


class GateConfig(_Section):
    """The regime gate."""

    enabled: bool = Field(description="use the recurrent PPO gate; without it r = 0")
    file: str = Field(description="frozen policy; `package:NAME` is one that ships with hybrid_bt")


class FusionConfig(_Section):
    """Weight of the SAC leg by regime score; the Kalman leg has the rest."""

    at_reversion: float = Field(ge=0, le=1, description="w_SAC at r = -1")
    at_neutral: float = Field(ge=0, le=1, description="w_SAC at r = 0")
    at_trend: float = Field(ge=0, le=1, description="w_SAC at r = +1")

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if not self.at_reversion <= self.at_neutral <= self.at_trend:
            raise ValueError(
                "w_SAC must not fall as r rises; got "
                f"{self.at_reversion}, {self.at_neutral}, {self.at_trend} at r = -1, 0, +1"
            )
        return self


class RiskConfig(_Section):
    """Leverage and limits, as fractions of equity."""

    volatility_target: float = Field(
        gt=0, description="volatility of the portfolio per year that targets are scaled to"
    )
    scale_limit: float = Field(gt=0, description="targets are never multiplied by more than this")
    gross_limit: float = Field(gt=0, description="sum of |target|")
    net_limit: float = Field(gt=0, description="|sum of targets|")
    asset_limit: float = Field(gt=0, description="|target| of one asset")
    bars_per_year: float | Literal["auto"] = Field(
        description="for volatilities per year; auto: 252 where bars are daily, else counted before trading begins"
    )

    @field_validator("bars_per_year", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value == "auto" or (number and math.isfinite(value) and value > 0):
            return value
        raise ValueError('give a number above 0, or "auto"')


class GuardConfig(_Section):
    """Hard limits on the account, after everything else, as fractions of equity; 0 = off."""

    gross_limit: float = Field(ge=0, description="sum of |position|; 0 = off")
    net_limit: float = Field(ge=0, description="|sum of positions|; 0 = off")
    asset_limit: float = Field(ge=0, description="|position| of one asset; 0 = off")
    pair_limit: float = Field(ge=0, description="|position| of a pair's two assets together; 0 = off")
    max_order_notional: float = Field(
        ge=0, description="largest order that opens, currency at the close of the decision; 0 = off"
    )
    daily_loss_limit: float = Field(
        ge=0, lt=1, description="loss since the last close of the day before at which all is sold for the day; 0 = off"
    )
    drawdown_limit: float = Field(ge=0, lt=1, description="loss from the peak at which the brake goes on; 0 = off")
    drawdown_scale: float = Field(ge=0, lt=1, description="targets are multiplied by it while the brake is on")
    drawdown_release: float = Field(ge=0, lt=1, description="loss from the peak at which the brake goes off")
    drawdown_pause_bars: int = Field(
        ge=0, description="bars after which it goes off in any case and the peak begins anew; 0 = never"
    )
    kill_file: str = Field(description="while this file exists, all is sold and nothing is opened; empty = off")
    on_policy_failure: Literal["hold", "flatten"] = Field(
        description="a policy fails or answers out of range: hold what is held, or flatten"
    )

    @model_validator(mode="after")
    def _released(self) -> Self:
        if self.drawdown_limit > 0.0 and not self.drawdown_release < self.drawdown_limit:
            raise ValueError(
                f"drawdown_release {self.drawdown_release} must be below drawdown_limit {self.drawdown_limit}"
            )
        if self.drawdown_limit > 0.0 and self.drawdown_scale == 0.0 and self.drawdown_pause_bars == 0:
            raise ValueError(
                "with drawdown_scale 0 the account is flat and never recovers, so the brake would never go off; "
                "give drawdown_pause_bars"
            )
        return self


class NewsConfig(_Section):
    """Documents and the risk manager; read only where a run asks for them (`--risk`)."""

    strength: float = Field(ge=0, le=1, description="k: what the highest risk takes away, fraction of the target")
    min_multiplier: float = Field(ge=0, le=1, description="least factor on a target, whatever the risk")
    regime_weight: float = Field(
        ge=0, le=LARGEST_REGIME_WEIGHT, description="lambda: weight of the documents in the regime score, by confidence"
    )
    half_life_bars: float = Field(gt=0, description="bars after which half of a verdict has faded")
    memory_bars: int = Field(ge=1, description="bars after which a verdict is forgotten")
    veto_bars: int = Field(ge=1, description="bars without new risk after a veto")
    on_failure: Literal["no_new_risk", "neutral"] = Field(description="what a bar does whose scorer failed")
    latency_minutes: float = Field(ge=0, description="minutes before the close after which a document is too late")
    window_days: float = Field(gt=0, description="days for which a document counts")
    retrieval: Literal["bm25", "embeddings"] = Field(
        description="what relevance is: shared words, or meaning (extra `embeddings`)"
    )
    documents: int = Field(ge=1, le=50, description="most relevant documents read per bar and symbol")
    document_chars: int = Field(ge=50, le=20_000, description="characters of each document that are read")
    close_time: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="close of a daily bar, HH:MM")
    time_zone: str = Field(description="zone of that time")
    stamp_zone: str = Field(description="zone of the stamps of bars within a day, taken as their closes")


class Config(_Section):
    """A whole configuration."""

    account: AccountConfig
    costs: CostConfig
    kalman: KalmanConfig
    sac: SacConfig
    gate: GateConfig
    fusion: FusionConfig
    risk: RiskConfig
    guard: GuardConfig
    news: NewsConfig

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.sac.enabled or self.kalman.enabled):
            raise ValueError("at least one leg must be on; drop --no-sac or --no-kalman")
        if self.risk.net_limit >= self.account.leverage:
            raise ValueError(
                f"risk.net_limit {self.risk.net_limit} must stay below account.leverage {self.account.leverage}: "
                "a gap and the costs need cash, or the broker rejects orders"
            )
        return self

    @property
    def bars_per_year(self) -> float:
        """As decisions take it; 252 as long as nobody has looked at the bars (`for_stamps`)."""
        rate = self.risk.bars_per_year
        return EXCHANGE_SESSIONS if rate == "auto" else rate

    def for_stamps(self, stamps: NDArray[np.datetime64]) -> Config:
        """The same configuration with `risk.bars_per_year = "auto"` replaced by what the bars before trading say.

        Parameters
        ----------
        stamps : ndarray of datetime64, shape (T,)
            Of the bars before the first decision that is traded, never later ones.
        """
        if self.risk.bars_per_year != "auto":
            return self
        return overridden(self, {"risk": {"bars_per_year": decision_rate(stamps)}})

    def order_rules(self) -> OrderRules:
        """When a target becomes an order."""
        return OrderRules(self.account.lot, self.account.eps_trade, self.account.rebalance_band)

    def trading_costs(self) -> Costs:
        """What trading costs, under the account's leverage."""
        return Costs(leverage=self.account.leverage, **self.costs.model_dump())

    def kalman_params(self) -> KalmanParams:
        """Noise variances of every pair that is not fitted."""
        k = self.kalman
        return KalmanParams(k.alpha_var_per_bar, k.beta_var_per_bar, k.noise_var)

    def spread_params(self) -> SpreadParams:
        """Memory of the spread; a pair is quiet until its scale has seen half the bars that an asset needs."""
        k = self.kalman
        return SpreadParams(k.spread_half_life_bars, k.scale_half_life_bars, WARMUP_BARS / 2)

    def pair_rules(self) -> PairRules:
        """Rules of the Kalman leg."""
        k = self.kalman
        return PairRules(
            k.entry_z,
            k.exit_z,
            k.stop_z,
            k.max_hold_bars,
            k.min_hedge_ratio,
            k.max_hedge_ratio,
            k.gross_exposure,
            k.orphan_bars,
        )

    def risk_unit(self) -> RiskUnit:
        """How a SAC action becomes exposure."""
        return RiskUnit(self.sac.risk_unit, self.sac.exposure_cap, self.bars_per_year)

    def fusion_params(self) -> FusionParams:
        """Weights of the SAC leg."""
        return FusionParams(self.fusion.at_reversion, self.fusion.at_neutral, self.fusion.at_trend)

    def guard_params(self) -> GuardParams:
        """Hard limits on the account."""
        g = self.guard.model_dump(exclude={"kill_file", "on_policy_failure"})
        return GuardParams(**g, flatten_on_failure=self.guard.on_policy_failure == "flatten")

    def risk_params(self) -> RiskParams:
        """Limits."""
        return RiskParams(**self.risk.model_dump() | {"bars_per_year": self.bars_per_year})

    def manager_params(self) -> ManagerParams:
        """How far documents reach."""
        return ManagerParams(self.news.strength, self.news.min_multiplier, self.news.regime_weight)

    def without_news(self) -> dict[str, Any]:
        """All sections that a run without documents reads, as plain data."""
        return self.model_dump(mode="json", exclude={"news"})


def mode_text(mode: str) -> str:
    """TOML text of a shipped mode."""
    if mode not in MODES:
        raise ConfigError(f"mode {mode!r} is unknown{did_you_mean(mode, MODES)}")
    return (resources.files("hybrid_bt") / "modes" / f"{mode}.toml").read_text(encoding="utf-8")


def load_config(
    mode: str = "stable", file: str | Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """Mode, overridden by a TOML file, overridden by `overrides` (`{section: {key: value}}`).

    Raises
    ------
    ConfigError
        Unknown mode, section or key (with the nearest name), a value out of range, or a file that is not TOML.
    """
    merged = tomllib.loads(mode_text(mode))
    for source, layer in (("file", _read_toml(file) if file else {}), ("flag", overrides or {})):
        _merge(merged, layer, str(file) if source == "file" else source)
    return _validated(merged)


def overridden(config: Config, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
    """The configuration with some keys replaced, checked as a whole again; errors as `load_config`."""
    merged = config.model_dump()
    _merge(merged, overrides, "flag")
    return _validated(merged)


def _validated(merged: dict[str, Any]) -> Config:
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read_toml(file: str | Path) -> dict[str, Any]:
    path = Path(file)
    if path.is_dir():
        raise ConfigError(f"config file {path} is a folder; name the TOML file in it with --config")
    if not path.is_file():
        raise ConfigError(f"config file {path} does not exist; check --config")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not TOML: {error}") from None


def _merge(base: dict[str, Any], layer: Mapping[str, Any], source: str) -> None:
    for section, values in layer.items():
        if section not in base:
            raise ConfigError(f"{source}: unknown section [{section}]{did_you_mean(section, base)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{source}: [{section}] must be a table of keys, got {values!r}")
        for key, value in values.items():
            if key not in base[section]:
                raise ConfigError(f"{source}: unknown key {section}.{key}{did_you_mean(key, base[section])}")
            base[section][key] = value


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        came = f" (got {problem['input']!r})" if where.count(".") else ""
        problems.append(f"{where}: {message}{came}" if where else message)
    return "config: " + "; ".join(problems)
