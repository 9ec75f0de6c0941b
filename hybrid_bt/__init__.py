"""hybrid_bt: Kalman pairs, frozen SAC and an LSTM regime gate, fused and traded through Backtrader.

The names below are the public entry points; each is imported on first use, so that `import hybrid_bt` costs nothing
and pulls in neither torch, numba, matplotlib nor quantstats.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Nothing of ours reports on its user. onnxruntime (an id kept under the home folder, a server called) and Ray do unless
# told before their first import, in each process; and of all modules this one is imported first, everywhere.
os.environ |= {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}

# In a plain checkout the adapter folders lie beside this package rather than inside it. The symlinks of the same name
# serve editors and type checkers; a checkout without symlinks is served by this path.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").exists() and (_checkout / "strategies").is_dir():
    __path__.append(str(_checkout))

_EXPORTS = {
    "Bars": "hybrid_bt.bars",
    "Config": "hybrid_bt.config",
    "Costs": "hybrid_bt.equations.costs",
    "FrozenPolicy": "hybrid_bt.policies.frozen",
    "HybridError": "hybrid_bt.errors",
    "HybridStrategy": "hybrid_bt.strategies",
    "KalmanHedge": "hybrid_bt.strategies",
    "SpreadFeeCommission": "hybrid_bt.strategies",
    "load_bars": "hybrid_bt.feeds",
    "load_config": "hybrid_bt.config",
    "replay": "hybrid_bt.account.replay",
}

__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
