"""Where the numbers that move a result come from: TOML -> the tuples that equations take.

A mode (`modes/*.toml`) is overridden by a user's TOML file, which is overridden by flags. Bounds, units and meanings
stand beside the equations (`equations.parameters`); unknown keys are refused; `run.json` writes back all of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.registry import Terms
from hybrid_bt.bars.stamps import EXCHANGE_SESSIONS, decision_rate
from hybrid_bt.config.parts import (
    AUTO,
    FURTHER,
    FurtherLeg,
    GateConfig,
    KalmanConfig,
    NewsConfig,
    SacConfig,
    further_leg,
    mode_text,
    read_toml,
)
from hybrid_bt.equations.advice import ManagerParams
from hybrid_bt.equations.book import Capital
from hybrid_bt.equations.costs import Costs, commission
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.equations.fusion import NOTHING, WHOLE, FusionParams, Line, RiskParams
from hybrid_bt.equations.guard_limits import GuardParams
from hybrid_bt.equations.kalman import KalmanParams
from hybrid_bt.equations.pair import SpreadParams
from hybrid_bt.equations.pair_rules import PairRules
from hybrid_bt.equations.parameters import meanings, parsed
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.equations.tilt import TiltParams, smoothing_bars
from hybrid_bt.errors import ConfigError, did_you_mean

MANY_PAIRS = 10  #: from so many on, pairs that a rule found carry the Kalman leg's whole share
Overrides = Mapping[str, Mapping[str, Any]]  #: {section: {key: value}}


class Config(NamedTuple):
    """A whole configuration: what equations take. The keys of a part stand in the section of its name, or in the one
    that is said here; `leverage` stands in `[account]`. Made by `load_config`.

    >>> load_config("stable")._replace(costs=Costs(spread_bps=4.0, fee_bps=1.0)).costs.spread_bps
    4.0
    """

    account: Capital
    order_rules: Annotated[OrderRules, "account"]
    costs: Costs
    kalman: KalmanConfig
    kalman_params: Annotated[KalmanParams, "kalman"]  #: of every pair that is not fitted
    spread_params: Annotated[SpreadParams, "kalman"]  #: quiet until half the bars have passed that an asset needs
    pair_rules: Annotated[PairRules, "kalman"]
    sac: SacConfig
    tilt_params: Annotated[TiltParams, "sac"]
    gate: GateConfig
    fusion: FusionParams
    risk: RiskParams
    guard: GuardParams
    manager: Annotated[ManagerParams, "news"]
    news: NewsConfig
    auto_rate: bool  #: bars per year are 252 as long as nobody has looked at the bars (`for_stamps`)
    legs: Mapping[str, FurtherLeg]  #: beside `sac` and `kalman`

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        if not any(self.legs_enabled().values()):
            return "at least one leg must be on; drop --no-sac or --no-kalman"
        if self.risk.net_limit >= self.costs.leverage:
            return (
                f"risk.net_limit {self.risk.net_limit} must stay below account.leverage {self.costs.leverage}: "
                "a gap and the costs need cash, or the broker rejects orders"
            )
        return ""

    def legs_enabled(self) -> dict[str, bool]:
        """Every leg, in the order in which they are mixed, and whether it is on."""
        further = {name: leg.enabled for name, leg in self.legs.items()}
        return {"sac": self.sac.enabled, "kalman": self.kalman.enabled, **further}

    def legs_on(self) -> tuple[str, ...]:
        """Those that are."""
        return tuple(name for name, is_on in self.legs_enabled().items() if is_on)

    def terms(self) -> Terms:
        """What an account takes (`hybrid_bt.account.registry`)."""
        return Terms(self.lines(), self.risk, self.costs, self.order_rules, self.account.cash)

    def lines(self) -> tuple[Line, ...]:
        """What r weighs of each leg: of `sac` its tilt, of others their share of risk; without `sac` pairs have all."""
        effect = self.sac.regime_effect
        sac, pairs = ((1.0 + effect, 1.0, 1.0 - effect), self.fusion) if self.sac.enabled else (NOTHING, WHOLE)
        further = (leg.weights if leg.enabled else NOTHING for leg in self.legs.values())
        return (sac, pairs if self.kalman.enabled else NOTHING, *further)

    def with_pairs_found(self, n_pairs: int) -> Config:
        """The same for so many pairs that a rule found: few carry little, min(1, pairs / 10) of the share."""
        part, (reversion, neutral, trend) = min(1.0, n_pairs / MANY_PAIRS), self.fusion
        return self._replace(fusion=FusionParams(part * reversion, part * neutral, part * trend))

    def for_stamps(self, stamps: NDArray[np.datetime64]) -> Config:
        """The same with `risk.bars_per_year = "auto"` replaced by what stamps say, (T,): of the bars before the first
        decision that is traded, never later ones.
        """
        return overridden(self, {"risk": {"bars_per_year": decision_rate(stamps)}}) if self.auto_rate else self

    def sections(self) -> dict[str, dict[str, Any]]:
        """Section -> key -> value, plain data; `load_config` takes it for a file's."""
        found = {
            section: {key: getattr(getattr(self, part), key) for key, part in keys.items()}
            for section, keys in keys_of().items()
        }
        if self.auto_rate:
            found["risk"]["bars_per_year"] = AUTO
        for name, leg in self.legs.items():
            own = leg.params._asdict()
            found.setdefault(FURTHER, {})[name] = {"enabled": leg.enabled, **leg.weights._asdict(), **own}
        return found

    def without_news(self) -> dict[str, Any]:
        """All sections that a run without documents reads, as plain data."""
        return {name: values for name, values in self.sections().items() if name != "news"}

    def numbers(self) -> dict[str, Any]:
        """The same without a guard that is all off, so that such a run's files, and its key among the trials, are those
        of a run without one."""
        numbers = self.without_news()
        if self.guard == GuardParams():
            del numbers["guard"]
        return numbers


_PARTS = {
    name: hint
    for name, hint in get_type_hints(Config, include_extras=True).items()
    if name not in ("auto_rate", FURTHER)
}


def _section(part: str, key: str) -> str:
    return "account" if key == "leverage" else getattr(_PARTS[part], "__metadata__", (part,))[0]


@cache
def keys_of() -> dict[str, dict[str, str]]:
    """Section -> key -> the part of `Config` that has a field of that name."""
    found: dict[str, dict[str, str]] = {}
    for part, cls in get_type_hints(Config).items():
        for key in meanings(cls) if part in _PARTS else ():
            found.setdefault(_section(part, key), {})[key] = part
    return found


def load_config(
    mode: str = "stable", file: str | Path | None = None, overrides: Overrides | None = None, apart: Sequence[str] = ()
) -> Config:
    """A mode's numbers, under those of a TOML file, under `overrides`.

    Parameters
    ----------
    mode : "stable" or "aggressive"
    file : str or Path, optional
        As `hybrid-bt init` writes one; sections named in `apart` are somebody else's.
    overrides : mapping, optional
        `{section: {key: value}}`.

    Raises
    ------
    ConfigError
        Unknown mode, section or key (with the nearest name), a value out of range, or a file that is not TOML.

    Examples
    --------
    >>> load_config("stable", overrides={"risk": {"volatility_target": 0.08}}).risk.volatility_target
    0.08
    """
    merged = tomllib.loads(mode_text(mode))
    _merge(merged, read_toml(file) if file else {}, str(file), apart)
    _merge(merged, overrides or {}, "flag")
    return _validated(merged)


def overridden(config: Config, overrides: Overrides) -> Config:
    """The configuration with some keys replaced, checked as a whole again; errors as `load_config`."""
    merged = config.sections()
    _merge(merged, overrides, "flag")
    return _validated(merged)


def _validated(merged: Mapping[str, Mapping[str, Any]]) -> Config:
    auto = merged["risk"]["bars_per_year"] == AUTO
    classes, wrong = get_type_hints(Config), []
    parts: dict[str, Any] = {}
    for part, given in _given(merged).items():
        if part == "risk" and auto:
            given["bars_per_year"] = EXCHANGE_SESSIONS
        parts[part], problems = parsed(classes[part], given)
        wrong += [f"{'.'.join(filter(None, (_section(part, key), key)))}: {text}" for key, text in problems]
    if not wrong:
        costs = parts["costs"]
        parts["tilt_params"] = parts["tilt_params"]._replace(half_life_bars=smoothing_bars(costs))
        parts["pair_rules"] = parts["pair_rules"]._replace(cost_per_side=commission(1.0, 1.0, costs))
        legs = {name: further_leg(name, given) for name, given in merged[FURTHER].items()}
        config = Config(**parts, auto_rate=auto, legs=legs)
        if not config.contradiction():
            return config
        wrong = [config.contradiction()]
    raise ConfigError("config: " + "; ".join(wrong))


def _given(merged: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Part -> field -> value, with what no section states."""
    found: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for section, keys in keys_of().items():
        for key, value in merged[section].items():
            found[keys[key]][key] = value
    found["spread_params"]["warmup_bars"] = WARMUP_BARS / 2
    found["tilt_params"]["half_life_bars"] = found["pair_rules"]["cost_per_side"] = 0.0
    return found


def _merge(base: dict[str, Any], layer: Mapping[str, Any], source: str, apart: Sequence[str] = ()) -> None:
    base.setdefault(FURTHER, {})
    known = (*keys_of(), FURTHER, *apart)
    for section, values in ((name, layer[name]) for name in layer if name not in apart):
        if section not in known:
            raise ConfigError(f"{source}: unknown section [{section:.60}]{did_you_mean(section, known)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{source}: [{section}] must be a table of keys, got {values!r}")
        for key, value in values.items():
            if section == FURTHER:
                if not isinstance(value, Mapping):
                    raise ConfigError(f"{source}: [{FURTHER}.{key}] must be a table of keys, got {value!r}")
                base[FURTHER][key] = {**base[FURTHER].get(key, {}), **value}
            elif key not in keys_of()[section]:
                raise ConfigError(f"{source}: unknown key {section}.{key:.60}{did_you_mean(key, keys_of()[section])}")
            else:
                base[section][key] = value
