"""The flags of a command that reads documents. Nothing of `hybrid_bt.news` is imported unless they ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.errors import ConfigError

if TYPE_CHECKING:
    from hybrid_bt.news.setup import RiskSetup

RISK_MODES = ("off", "lexicon", "replay", "record", "live")
#: flag -> field of `RiskSetup`
_FIELDS = {
    "news": "documents",
    "scorer": "scorer",
    "scorer_model": "model",
    "scorer_key_env": "key_variable",
    "scorer_timeout": "timeout_seconds",
    "scorer_jobs": "concurrency",
    "scorer_price": "usd_per_million",
    "verdicts": "cache",
    "calls": "calls",
    "loughran_mcdonald": "loughran_mcdonald",
}
_HELP = "Risk manager that reads documents: by word lists; by verdicts recorded; asking and recording; asking."
_OPTIONS = (
    click.option("--risk", type=click.Choice(RISK_MODES), default="off", show_default=True, help=_HELP),
    click.option("--news", metavar="sample|PATH", help="Documents: a store, or files.  [default: the embedded sample]"),
    click.option("--scorer", metavar="lexicon|URL|module:callable", help="Who scores them.  [default: lexicon]"),
    click.option("--scorer-model", metavar="NAME", help="Model at that URL."),
    click.option("--scorer-key-env", metavar="NAME", help="Variable of its key.  [default: HYBRID_BT_LLM_KEY]"),
    click.option("--scorer-timeout", type=click.FloatRange(min=0.1), help="Seconds for an answer.  [default: 60]"),
    click.option("--scorer-price", type=(float, float), metavar="IN OUT", help="US dollars per million tokens."),
    click.option("--scorer-jobs", type=click.IntRange(1, 64), help="Questions at once.  [default: 4]"),
    click.option("--verdicts", type=click.Path(path_type=Path), help="Recorded verdicts.  [default: verdicts.jsonl]"),
    click.option("--calls", type=click.IntRange(1, 99), help="Calls per question in record; their median counts."),
    click.option("--loughran-mcdonald", type=click.Path(path_type=Path), help="Your copy of their dictionary (CSV)."),
)


def risk_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that adds the flags to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def setup_of(flags: Mapping[str, Any]) -> RiskSetup | None:
    """What the flags ask for; None for `off`.

    Raises
    ------
    ConfigError
        If a flag of the risk manager is given without it.
    """
    given = {field: flags[flag] for flag, field in _FIELDS.items() if flags[flag] is not None}
    if flags["risk"] == "off":
        for flag in _FIELDS:
            if flags[flag] is not None:
                raise ConfigError(
                    f"--{flag.replace('_', '-')} belongs to the risk manager; say --risk lexicon, or more"
                )
        return None
    from hybrid_bt.news.setup import RiskSetup

    return RiskSetup(mode=flags["risk"], **given)
