"""hybrid_bt: Kalman pairs, frozen SAC and an LSTM regime gate, fused and traded through Backtrader.

The names below are the public entry points; each is imported on first use, so that `import hybrid_bt` costs nothing
and pulls in neither torch, numba, matplotlib nor quantstats.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybrid_bt.account.replay import replay
    from hybrid_bt.backtest import run_backtest
    from hybrid_bt.bars import Bars
    from hybrid_bt.bars.market import Market
    from hybrid_bt.brain.legs import Leg, View, Wish
    from hybrid_bt.config import Config, load_config
    from hybrid_bt.equations.costs import Costs
    from hybrid_bt.equations.sizing import OrderRules
    from hybrid_bt.errors import HybridError
    from hybrid_bt.evidence.audit.user import audit_strategy
    from hybrid_bt.feeds import ArrayFeed, load_bars
    from hybrid_bt.policies.frozen import FrozenPolicy
    from hybrid_bt.report import Run
    from hybrid_bt.strategies import AgentStrategy, HybridStrategy, KalmanHedge, SpreadFeeCommission, TargetOrders

__version__ = "0.1.0"

__all__ = [
    "AgentStrategy", "ArrayFeed", "Bars", "Config", "Costs", "FrozenPolicy", "HybridError", "HybridStrategy",
    "KalmanHedge", "Leg", "Market", "OrderRules", "Run", "SpreadFeeCommission", "TargetOrders", "View", "Wish",
    "__version__", "audit_strategy", "load_bars", "load_config", "replay", "run_backtest",
]  # fmt: skip

# Nothing of ours reports on its user. onnxruntime (an id kept under the home folder, a server called) and Ray do unless
# told before their first import, in each process; and of all modules this one is imported first, everywhere.
os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}

# In a plain checkout the adapter folders lie beside this package rather than inside it. The symlinks of the same name
# serve editors and type checkers; a checkout without symlinks is served by this path.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").exists() and (_checkout / "strategies").is_dir():
    __path__.append(str(_checkout))

#: public name -> its module
_HOMES = {
    "AgentStrategy": "strategies", "ArrayFeed": "feeds", "Bars": "bars", "Config": "config", "Costs": "equations.costs",
    "FrozenPolicy": "policies.frozen", "HybridError": "errors", "HybridStrategy": "strategies",
    "KalmanHedge": "strategies", "Leg": "brain.legs",
    "Market": "bars.market", "OrderRules": "equations.sizing", "Run": "report", "SpreadFeeCommission": "strategies",
    "TargetOrders": "strategies", "View": "brain.legs", "Wish": "brain.legs", "load_bars": "feeds",
    "audit_strategy": "evidence.audit.user", "load_config": "config", "replay": "account.replay",
    "run_backtest": "backtest",
}  # fmt: skip
_PACKAGES = ("analyzers", "envs", "feeds", "strategies")  #: that are there after `import hybrid_bt` alone


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, *_PACKAGES))
