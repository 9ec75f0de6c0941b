"""Where the numbers that move a result come from: TOML -> the tuples that equations take.

A mode (`modes/*.toml`) is overridden by a user's TOML file, which is overridden by flags. Bounds, units and meanings
stand beside the equations (`hybrid_bt.parameters`); unknown keys are refused; `run.json` writes back all of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray
from pydantic import Field

from hybrid_bt.accounting import Capital, OrderRules
from hybrid_bt.advice import ManagerParams
from hybrid_bt.bar_rate import EXCHANGE_SESSIONS, decision_rate
from hybrid_bt.costs import Costs
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.features import WARMUP_BARS
from hybrid_bt.fusion import FusionParams, MixParams, RiskParams, RiskUnit, constant_weights
from hybrid_bt.guard import GuardParams
from hybrid_bt.kalman import KalmanParams
from hybrid_bt.legs import leg_named
from hybrid_bt.pair import PairRules, SpreadParams
from hybrid_bt.parameters import meanings, parsed, validated

MODES = ("stable", "aggressive")
FURTHER = "legs"  #: section of the legs beside `sac` and `kalman`, a table each
RESERVED = ("hybrid", "rebalanced", "benchmark", "gate")  #: names of accounts and parts that no leg may have
AUTO = "auto"  #: for `risk.bars_per_year`: as the bars before trading say


class KalmanConfig(NamedTuple):
    """The Kalman leg: the filter, the spread and the pair rules."""

    enabled: Annotated[bool, "use the Kalman leg"]
    fit: Annotated[bool, "recalibrate the variances per pair on the bars before the trading start"]


class SacConfig(NamedTuple):
    """The SAC leg."""

    enabled: Annotated[bool, "use the SAC leg"]
    file: Annotated[str, "frozen policy; `package:NAME` is one that ships with hybrid_bt"]


class GateConfig(NamedTuple):
    """The regime gate."""

    enabled: Annotated[bool, "use the recurrent PPO gate; without it r = 0"]
    file: Annotated[str, "frozen policy; `package:NAME` is one that ships with hybrid_bt"]


class LegWeights(NamedTuple):
    """A leg beside `sac` and `kalman`: its weight in the mix, by regime score."""

    at_reversion: Annotated[float, Ge(0), "weight at r = -1"]
    at_neutral: Annotated[float, Ge(0), "weight at r = 0"]
    at_trend: Annotated[float, Ge(0), "weight at r = +1"]


class NoParams(NamedTuple):
    """Of a leg that names none."""


class FurtherLeg(NamedTuple):
    """A section `[legs.NAME]`."""

    enabled: bool
    weights: LegWeights
    params: Any  #: of the leg's own `Params`


class NewsConfig(NamedTuple):
    """Which documents are read, when, and for how long they count."""

    half_life_bars: Annotated[float, Gt(0), "bars after which half of a verdict has faded"]
    memory_bars: Annotated[int, Ge(1), "bars after which a verdict is forgotten"]
    veto_bars: Annotated[int, Ge(1), "bars without new risk after a veto"]
    on_failure: Annotated[Literal["no_new_risk", "neutral"], "what a bar does whose scorer failed"]
    latency_minutes: Annotated[float, Ge(0), "minutes before the close after which a document is too late"]
    window_days: Annotated[float, Gt(0), "days for which a document counts"]
    retrieval: Annotated[Literal["bm25", "embeddings"], "relevance: shared words, or meaning (extra `embeddings`)"]
    documents: Annotated[int, Ge(1), Le(50), "most relevant documents read per bar and symbol"]
    document_chars: Annotated[int, Ge(50), Le(20_000), "characters of each document that are read"]
    close_time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$"), "close of a daily bar, HH:MM"]
    time_zone: Annotated[str, "zone of that time"]
    stamp_zone: Annotated[str, "zone of the stamps of bars within a day, taken as their closes"]


class Config(NamedTuple):
    """A whole configuration: what equations take. The keys of a part stand in the section of its name, or in the one
    that is said here; `leverage` stands in `[account]`."""

    account: Capital
    order_rules: Annotated[OrderRules, "account"]
    costs: Costs
    kalman: KalmanConfig
    kalman_params: Annotated[KalmanParams, "kalman"]  #: of every pair that is not fitted
    spread_params: Annotated[SpreadParams, "kalman"]  #: quiet until half the bars have passed that an asset needs
    pair_rules: Annotated[PairRules, "kalman"]
    sac: SacConfig
    risk_unit: Annotated[RiskUnit, "sac"]
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

    def mix(self) -> MixParams:
        """The weights of all legs; of `sac` and `kalman`, one that is off leaves its weight to the other."""
        both = self.sac.enabled and self.kalman.enabled
        base = self.fusion if both else constant_weights(1.0 if self.sac.enabled else 0.0)
        return MixParams(base, tuple(leg.weights for leg in self.legs.values()))

    def for_stamps(self, stamps: NDArray[np.datetime64]) -> Config:
        """The same configuration with `risk.bars_per_year = "auto"` replaced by what the bars before trading say.

        Parameters
        ----------
        stamps : ndarray of datetime64, shape (T,)
            Of the bars before the first decision that is traded, never later ones.
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
        unit = parts["risk_unit"]._replace(bars_per_year=parts["risk"].bars_per_year)
        legs = {name: _further_leg(name, given) for name, given in merged[FURTHER].items()}
        config = Config(**parts | {"risk_unit": unit}, auto_rate=auto, legs=legs)
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
    found["risk_unit"]["bars_per_year"] = EXCHANGE_SESSIONS
    return found


def _further_leg(name: str, given: Mapping[str, Any]) -> FurtherLeg:
    if name in ("sac", "kalman"):
        raise ConfigError(f"legs: [{FURTHER}.{name}] is the section [{name}]; move its keys there")
    if not name.isidentifier() or name in RESERVED:
        raise ConfigError(f"legs: [{FURTHER}.{name}] cannot have that name, which stands for something else; rename it")
    where, params = f"{FURTHER}.{name}", getattr(leg_named(name), "Params", NoParams)
    weights = {key: given[key] for key in LegWeights._fields if key in given}
    own = {key: value for key, value in given.items() if key not in (*LegWeights._fields, "enabled")}
    is_on = given.get("enabled", True)
    if not isinstance(is_on, bool):
        raise ConfigError(f"{where}.enabled must be true or false, not {is_on!r}")
    return FurtherLeg(is_on, validated(LegWeights, weights, where), validated(params, own, where))


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
    base.setdefault(FURTHER, {})
    for section, values in layer.items():
        if section not in keys_of() and section != FURTHER:
            raise ConfigError(f"{source}: unknown section [{section}]{did_you_mean(section, (*keys_of(), FURTHER))}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{source}: [{section}] must be a table of keys, got {values!r}")
        for key, value in values.items():
            if section == FURTHER:
                base[FURTHER][key] = _merged_leg(base[FURTHER].get(key, {}), key, value, source)
            elif key not in keys_of()[section]:
                raise ConfigError(f"{source}: unknown key {section}.{key}{did_you_mean(key, keys_of()[section])}")
            else:
                base[section][key] = value


def _merged_leg(base: Mapping[str, Any], name: str, layer: Any, source: str) -> dict[str, Any]:
    if not isinstance(layer, Mapping):
        raise ConfigError(f"{source}: [{FURTHER}.{name}] must be a table of keys, got {layer!r}")
    return {**base, **layer}
