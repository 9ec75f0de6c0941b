"""Every number that moves a trained policy.

How each was chosen, on training and validation spans only: docs/research-log.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple, TypeAlias, get_type_hints

import numpy as np
from annotated_types import Ge, Gt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from hybrid_bt.errors import ConfigError, check_names, library, os_errors


class SacSpec(NamedTuple):
    """Training of the SAC leg (`hybrid_bt.train.ground`)."""

    net: Annotated[tuple[int, ...], "hidden layers of actor and critics"] = (32, 32)
    learning_rate: Annotated[float, Gt(0)] = 5e-4
    temperature: Annotated[
        float, Gt(0), "fixed; high against the reward, so that the mean action is the slope of Q and not its noise"
    ] = 0.2
    batch_size: Annotated[int, Ge(1)] = 1024
    replays: Annotated[float, Gt(0), "how often each transition is learned from"] = 8.0
    learning_starts: Annotated[int, Ge(0), "steps of random actions before learning"] = 5_000
    n_groups: Annotated[int, Ge(1), "learned from side by side"] = 16
    n_symbols: Annotated[int, Ge(2), "of a group"] = 16
    window_bars: Annotated[int, Ge(2), "that a group is kept for"] = 126


class GateSpec(NamedTuple):
    """Training of the regime gate (`hybrid_bt.train.ground`)."""

    price_of_size: Annotated[float, Ge(0), "p, of r^2"] = 0.15
    price_of_change: Annotated[float, Ge(0), "q, of |r - r before|"] = 0.1
    lstm_hidden: Annotated[int, Ge(1)] = 32
    net: Annotated[tuple[int, ...], "hidden layers behind the LSTM"] = (32,)
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    entropy: Annotated[float, Ge(0), "weight of the entropy bonus"] = 0.0
    first_sd: Annotated[float, Gt(0), "standard deviation of r around the policy's mean at first"] = 0.5
    n_steps: Annotated[int, Ge(2), "bars per environment and update"] = 128
    batch_size: Annotated[int, Ge(1)] = 512
    n_epochs: Annotated[int, Ge(1)] = 4
    n_envs: Annotated[int, Ge(1), "windows side by side"] = 16
    window_bars: Annotated[int, Ge(2), "that a market is kept for"] = 252


#: algorithms for continuous actions, by name: the module and the class in it
ALGOS = {name: ("stable_baselines3", name.upper()) for name in ("a2c", "ddpg", "ppo", "sac", "td3")} | {
    name.lower(): ("sb3_contrib", name.replace("-", "")) for name in ("ARS", "CrossQ", "Recurrent-PPO", "TQC", "TRPO")
}


#: arguments of an algorithm that a training gives itself
OWN = ("return", "policy", "env", "tensorboard_log", "verbose", "seed", "device", "_init_setup_model")


class AgentSpec(NamedTuple):
    """Training of an agent on a registered environment (`hybrid_bt.train.agents`)."""

    env: str = "Portfolio"  #: a key of `envs.SPECS`
    algo: str = "ppo"  #: a key of `ALGOS`
    mode: str = "stable"  #: whose costs, limits and order rules the environment has
    n_envs: Annotated[int, Ge(1), "episodes side by side"] = 8
    n_assets: Annotated[int, Ge(0), "of a portfolio; 0 for all of the smallest market's"] = 0
    episode_bars: Annotated[int, Ge(1), "length of an episode"] = 252
    normalize: Annotated[bool, "learn under VecNormalize"] = True
    terms: Mapping[str, Any] = {}  #: fields of the environment's `Task` in the place of the mode's
    settings: Mapping[str, Any] = {}  #: arguments of the algorithm in the place of its own defaults


Spec: TypeAlias = SacSpec | GateSpec | AgentSpec


def algorithm(name: str) -> Any:  # noqa: ANN401  a class of a library that is not imported to be read
    """The class of an algorithm; ConfigError where its library is missing."""
    return getattr(library(ALGOS[name][0], "train", f"{name} needs {ALGOS[name][0]}"), ALGOS[name][1])


def settable(algo: str) -> dict[str, Any]:
    """Settings that an algorithm has, and of what kind they are."""
    cls = algorithm(algo)
    said = {k: hint for k, hint in cls.__init__.__annotations__.items() if k not in OWN and not k.endswith("_class")}
    return get_type_hints(SimpleNamespace(__annotations__=said), vars(import_module(cls.__module__)))


def algo_settings(spec: AgentSpec, n_actions: int) -> dict[str, Any]:
    """`spec.settings` as the algorithm takes them: `action_noise` is a standard deviation, `activation_fn` a class of
    torch by its name.

    Raises
    ------
    ConfigError
        For a setting that the algorithm or its policy does not have (with the nearest), or of another kind.
    """
    from torch import nn

    hints, given = settable(spec.algo), dict(spec.settings)
    check_names(given, hints, f"[algo]: {spec.algo} has no setting")
    policy, net = next(iter(algorithm(spec.algo).policy_aliases.values())), given.get("policy_kwargs", {})
    if isinstance(net, Mapping):
        words = [name for name in inspect.signature(policy).parameters if name not in ("self", "lr_schedule")]
        check_names(net, [w for w in words if not w.endswith(("_space", "_class"))], "[algo]: policy_kwargs has no")
        if isinstance(name := net.get("activation_fn"), str):
            check_names([name], nn.modules.activation.__all__, "[algo]: torch has no activation_fn")
            given["policy_kwargs"] = {**net, "activation_fn": getattr(nn, name)}
    if isinstance(noise := given.get("action_noise"), int | float):
        from stable_baselines3.common.noise import NormalActionNoise

        given["action_noise"] = NormalActionNoise(np.zeros(n_actions), np.full(n_actions, noise))
    loose = ConfigDict(arbitrary_types_allowed=True)
    for name, value in given.items():
        try:
            given[name] = TypeAdapter(hints[name], config=loose).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"[algo] {name} = {value!r}: {error.errors()[0]['msg']}") from None
    return given


def refusals(algo: str, settings: Mapping[str, Any]) -> AbstractContextManager[None]:
    """What Stable-Baselines3 refuses inside, told as a mistake in the settings, which it is."""
    given, of = f"[algo]: {algo} with {dict(settings)}", (ValueError, TypeError, AssertionError, RuntimeError)
    return os_errors(ConfigError, given, "change them", of=of)  # the last of them is torch's


def check_steps(flag: str, steps: int, learning_starts: int) -> None:
    """Refuse a training that begins with random actions and would be over before it learns; PPO learns behind any
    rollout, the first included.

    Raises
    ------
    ConfigError
    """
    if steps <= learning_starts:
        raise ConfigError(
            f"{flag} {steps}: the first {learning_starts} steps are random actions that nothing is learned "
            f"from, so the network would be frozen untrained; give {learning_starts + 1} or more"
        )
