"""What a frozen policy says about itself: the manifest.

The manifest is plain data, checked by pydantic, and written as canonical JSON (sorted keys, no spaces, ASCII, no NaN).
It holds no clock time, no path and no host name, so that the same training gives the same bytes.

What nobody recorded, as a seed or the hash of the data of a model that is imported, is null.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from hybrid_bt.equations.features import ASSET_FEATURES, MARKET_FEATURES
from hybrid_bt.errors import PolicyError, did_you_mean, first_fault

FORMAT_VERSION = 2  #: of the file layout and of this model
#: whose models are imported
ALGORITHMS = ("SAC", "TD3", "TQC", "CrossQ", "PPO", "A2C", "TRPO", "RecurrentPPO", "ARS")
ACCOUNT_FEATURES = ("weight",)  #: of each asset: the fraction of equity that is held in it
LEFT_OUT = ("markets", "actions", "gradient_steps")  #: fields that are absent from a file where they have their default
LEARNERS = {"sac": "sac", "gate": "recurrentppo"}  #: what this house trains for a kind

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1)]


def canonical_json(data: dict[str, Any]) -> str:
    """The one JSON text of `data`; ValueError for NaN or infinity."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def portfolio_names(
    symbols: Iterable[str],
    asset: Iterable[object] = ASSET_FEATURES,
    market: Iterable[object] = MARKET_FEATURES,
    account: Iterable[object] = ACCOUNT_FEATURES,
) -> tuple[str, ...]:
    """Of each number that an agent of a portfolio sees: assets in turn, the market, then what is held of each."""
    features, held = ([f"{symbol} {one}" for symbol in symbols for one in block] for block in (asset, account))
    return (*features, *map(str, market), *held)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recurrent(_Frozen):
    """Shape of the LSTM that a policy carries from bar to bar."""

    n_lstm: int = Field(ge=1)  #: stacked LSTM layers
    hidden: int = Field(ge=1)  #: units per layer


class Scaling(_Frozen):
    """How the network scales observations before its first layer: clip((x - mean) / std, -clip, clip)."""

    mean: tuple[float, ...] = Field(min_length=1)  #: one per observation
    std: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(min_length=1)  #: one per observation
    clip: float = Field(gt=0.0)  #: of the scaled value

    def scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """As VecNormalize does it outside of a network."""
        scaled = np.clip((x - np.array(self.mean)) / np.array(self.std), -self.clip, self.clip)
        return scaled.astype(np.float32)  # type: ignore[no-any-return]


class MarketRead(_Frozen):
    """One of several markets that a policy was trained on."""

    name: str
    sha256: Sha256  #: of its bars up to the end of training (`Bars.sha256`)
    symbols: tuple[Name, ...] = Field(min_length=1)
    start: date  #: first bar, of warm-up
    end: date  #: last bar


class Manifest(_Frozen):
    """Manifest of a frozen policy.

    A policy answers each row of a float32 observation matrix with one action, of a portfolio with one for each symbol.
    Observations are clipped to +-`observation_clip`; where `scaling` is given, the network then scales them.
    """

    format_version: Literal[2] = 2  #: `FORMAT_VERSION`
    kind: Literal["sac", "gate", "portfolio"]  #: what the action is for
    observation: tuple[Name, ...] = Field(min_length=1)  #: column names, in order
    observation_clip: float = Field(gt=0.0)  #: observations are clipped to +- this
    action_low: float  #: least action
    action_high: float  #: greatest action
    action_meaning: str  #: in words, with unit
    recurrent: Recurrent | None = None  #: None for a policy without memory
    members: int = Field(ge=1)  #: ensemble size; the action is the mean of the members' actions
    train_start: date  #: first training bar
    train_end: date  #: last training bar
    valid_start: date | None = None  #: first bar used to choose among checkpoints or settings
    valid_end: date | None = None  #: last such bar
    symbols: tuple[Name, ...] = Field(min_length=1)  #: trained on
    data_sha256: Sha256 | None  #: of the training bars (`Bars.sha256`); None if not known
    costs: dict[str, float]  #: charged in training, by name (`spread_bps`, ...)
    reward: str | dict[str, JsonValue]  #: in words, or its parameters
    gamma: float = Field(ge=0.0, le=1.0)  #: discount per bar
    seeds: tuple[int | None, ...] = Field(min_length=1)  #: one per member; None if not known
    steps: int = Field(ge=0)  #: environment steps per member
    gradient_steps: int | None = Field(default=None, ge=0)  #: per member; None: not recorded
    versions: dict[str, str]  #: of the libraries that trained and froze it
    results: dict[str, JsonValue] = {}  #: training and validation results
    mode: Literal["stable", "aggressive"] | None = None  #: None where one policy serves both
    scaling: Scaling | None = None  #: part of the network, and said here
    actions: int = Field(default=1, ge=1)  #: numbers in an answer
    markets: tuple[MarketRead, ...] = ()  #: where there were several, all; `data_sha256` is of the first
    graph_sha256: Sha256 | None = None  #: of the ONNX bytes before the manifest; set when packed
    graph_bytes: int | None = Field(default=None, ge=1)  #: their number; set when packed

    @model_validator(mode="after")
    def _check(self) -> Self:
        clip, n, scaling = self.observation_clip, len(self.observation), self.scaling
        scaled = scaling is None or len(scaling.mean) == len(scaling.std) == n
        valid = self.valid_start or date.min, self.valid_end or date.max
        rules = {
            "observation names must be unique": len(set(self.observation)) == n,
            "observation_clip must be a float32 number (10.0, not 0.1)": float(np.float32(clip)) == clip,
            "action_low must lie below action_high": self.action_low < self.action_high,
            "train_end must not lie before train_start": self.train_start <= self.train_end,
            "valid_start and valid_end are given together or not at all": (not self.valid_start)
            == (not self.valid_end),
            "valid_end must not lie before valid_start": valid[0] <= valid[1],
            "seeds must hold one seed per member": len(self.seeds) == self.members,
            "scaling must hold one mean and one std per observation": scaled,
            "a portfolio has one action for each of its symbols, any other policy one": self.actions
            == (len(self.symbols) if self.kind == "portfolio" else 1),
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(rule)
        return self

    @classmethod
    def checked(cls, fields: Mapping[str, Any], words: str, remedy: str) -> Self:
        """A manifest of these fields.

        Parameters
        ----------
        fields : mapping
        words, remedy : str
            What stands in a message before the name of a wrong field, and at its end.

        Raises
        ------
        PolicyError
            Naming the first field that is wrong.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise PolicyError(f"{words} {first_fault(error, 'manifest')}; {remedy}") from error

    def columns_in(self, names: Sequence[str], file: str) -> list[int]:
        """Where the columns that the policy observes stand among those that the running code makes.

        Raises
        ------
        PolicyError
            Naming the first column that is not made.
        """
        for column, name in enumerate(self.observation):
            if name not in names:
                why = f"reads {name!r} (column {column}), which this code does not make"
                remedy = f"train and freeze the policy again{did_you_mean(name, names)}"
                raise PolicyError(f"policy: {file} {why}; {remedy}")
        return [names.index(name) for name in self.observation]

    @property
    def algorithm(self) -> str:
        """What learned, in lower case: as an import said it, else what this house trains for the kind."""
        said = self.results.get("imported_from")
        return str(said).lower() if said in ALGORITHMS else LEARNERS.get(self.kind, self.kind)

    def in_sample(self, stamps: NDArray[np.datetime64]) -> NDArray[np.bool_]:
        """Which of the bars were seen in training or validation.

        Parameters
        ----------
        stamps : ndarray of datetime64, shape (T,)

        Returns
        -------
        ndarray of bool, shape (T,)
            True from `train_start` to `train_end` and from `valid_start` to `valid_end`, both ends included.
        """
        days = np.asarray(stamps).astype("datetime64[D]")
        seen: NDArray[np.bool_] = (days >= np.datetime64(self.train_start)) & (days <= np.datetime64(self.train_end))
        if self.valid_start is not None and self.valid_end is not None:
            seen |= (days >= np.datetime64(self.valid_start)) & (days <= np.datetime64(self.valid_end))
        return seen

    def sealed_json(self) -> str:
        """Canonical JSON with `manifest_sha256`, the hash of the same JSON without that key."""
        usual = {name for name in LEFT_OUT if getattr(self, name) == type(self).model_fields[name].default}
        data = self.model_dump(mode="json", exclude=usual)
        return canonical_json(data | {"manifest_sha256": hashlib.sha256(canonical_json(data).encode()).hexdigest()})
