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
#: fields of `RiskSetup` that a flag may set
_FLAGS = ("news", "scorer", "scorer_model", "scorer_key_env", "scorer_timeout", "scorer_jobs", "scorer_price",
          "verdicts", "calls", "loughran_mcdonald")  # fmt: skip
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
    given = {flag: flags[flag] for flag in _FLAGS if flags[flag] is not None}
    if flags["risk"] == "off":
        for flag in given:
            raise ConfigError(f"--{flag.replace('_', '-')} belongs to the risk manager; say --risk lexicon, or more")
        return None
    from hybrid_bt.news.setup import RiskSetup

    return RiskSetup(flags["risk"], **given)
