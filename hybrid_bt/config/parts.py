"""What a configuration is made of beside the tuples that equations take: switches, files, documents, further legs."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field

from hybrid_bt.brain.legs import leg_named
from hybrid_bt.equations import Count, InBars, Share
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError, did_you_mean, os_errors

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
    regime_effect: Annotated[
        float, Gt(-1), Lt(1), "e: w_SAC(r) = 1 - e r of the tilt counts; below 0 for a policy that learnt trends"
    ]
    file: Annotated[str, "frozen policy; `package:NAME` is one that ships with hybrid_bt"]


class GateConfig(NamedTuple):
    """The regime gate."""

    enabled: Annotated[bool, "use the recurrent PPO gate; without it r = 0"]
    file: Annotated[str, "frozen policy; `package:NAME` is one that ships with hybrid_bt"]


class LegWeights(NamedTuple):
    """A leg beside `sac` and `kalman`: its share of the account's risk, by regime score."""

    at_reversion: Annotated[Share, "share of risk at r = -1"]
    at_neutral: Annotated[Share, "the same at r = 0"]
    at_trend: Annotated[Share, "the same at r = +1"]


class NoParams(NamedTuple):
    """Of a leg that names none."""


class FurtherLeg(NamedTuple):
    """A section `[legs.NAME]`."""

    enabled: bool
    weights: LegWeights
    params: Any  #: of the leg's own `Params`


class NewsConfig(NamedTuple):
    """Which documents are read, when, and for how long they count."""

    half_life_bars: Annotated[InBars, "bars after which half of a verdict has faded"]
    memory_bars: Annotated[Count, "bars after which a verdict is forgotten"]
    veto_bars: Annotated[Count, "bars without new risk after a veto"]
    on_failure: Annotated[Literal["no_new_risk", "neutral"], "what a bar does whose scorer failed"]
    latency_minutes: Annotated[float, Ge(0), Le(100_000), "minutes before the close after which a document is too late"]
    window_days: Annotated[float, Gt(0), Le(36_500), "days for which a document counts"]
    retrieval: Annotated[Literal["bm25", "embeddings"], "relevance: shared words, or meaning (extra `embeddings`)"]
    documents: Annotated[int, Ge(1), Le(50), "most relevant documents read per bar and symbol"]
    document_chars: Annotated[int, Ge(50), Le(20_000), "characters of each document that are read"]
    close_time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$"), "close of a daily bar, HH:MM"]
    time_zone: Annotated[str, "zone of that time"]
    stamp_zone: Annotated[str, "zone of the stamps of bars within a day, taken as their closes"]


def further_leg(name: str, given: Mapping[str, Any]) -> FurtherLeg:
    """A section `[legs.NAME]`, held against the `Params` of the leg that is registered under that name."""
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


def read_toml(file: str | Path) -> dict[str, Any]:
    """A user's file as it stands."""
    told = f"config file {file}"
    with os_errors(ConfigError, f"{told} cannot be read", "name a TOML file with --config"):
        text = Path(file).read_bytes()
    if text.startswith(codecs.BOM_UTF8):
        raise ConfigError(f"{told} is not TOML: it begins with a byte order mark; save it as UTF-8 without (BOM)")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{told} is not TOML: {error}") from None
    except (ValueError, RecursionError):  # of Python's own numbers and stack
        why = "it has a number of thousands of digits, or as many brackets within brackets"
        raise ConfigError(f"{told} cannot be read: {why}; shorten it") from None


def mode_text(mode: str) -> str:
    """TOML text of a shipped mode."""
    if mode not in MODES:
        raise ConfigError(f"mode {mode!r} is unknown{did_you_mean(mode, MODES)}")
    return (resources.files("hybrid_bt.config") / "modes" / f"{mode}.toml").read_text(encoding="utf-8")
