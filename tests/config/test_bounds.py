"""Every key of the schema: its type is meant, its bounds are two, and what lies within them can be run."""

from __future__ import annotations

import codecs
import json
import re
import warnings
from datetime import date
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt

from hybrid_bt import load_bars, run_backtest
from hybrid_bt.config import Config, keys_of, load_config
from hybrid_bt.config.parts import MODES
from hybrid_bt.errors import ConfigError

KEYS = {(section, key): part for section, keys in keys_of().items() for key, part in keys.items()}
NO_NUMBERS: tuple[Any, ...] = (True, False, np.True_, "1", "1.0", "on", "", b"1", [1.0], {})
NO_SWITCHES: tuple[Any, ...] = (0, 1, 0.0, 1.0, "true", "no", "", b"1", [True])


def hint(section: str, key: str) -> Any:
    return get_type_hints(get_type_hints(Config)[KEYS[section, key]], include_extras=True)[key]


def kind(section: str, key: str) -> Any:
    return get_args(hint(section, key))[0]


def bounds(section: str, key: str) -> tuple[float, float]:
    """The least and the largest value that are taken."""
    least, most = [], []
    for one in hint(section, key).__metadata__:
        if isinstance(one, Ge | Gt):
            least.append(one.ge if isinstance(one, Ge) else np.nextafter(one.gt, np.inf))  # type: ignore[call-overload]
        elif isinstance(one, Le | Lt):
            most.append(one.le if isinstance(one, Le) else np.nextafter(one.lt, -np.inf))  # type: ignore[call-overload]
    assert (len(least), len(most)) == (1, 1), f"{section}.{key} is not bounded on both sides"
    return float(least[0]), float(most[0])


#: keys that have to give way
OTHERS = {
    ("kalman", "entry_z"): {"exit_z": -1.0, "stop_z": 1e6},
    ("kalman", "exit_z"): {"entry_z": 1e5, "stop_z": 1e6},
    ("kalman", "stop_z"): {"exit_z": -2.0, "entry_z": 1e-323},
    ("kalman", "min_hedge_ratio"): {"max_hedge_ratio": 1000.0},
    ("kalman", "max_hedge_ratio"): {"min_hedge_ratio": 1e-6},
    ("fusion", "at_reversion"): {"at_neutral": 0.0, "at_trend": 0.0},
    ("fusion", "at_neutral"): {"at_reversion": 1.0, "at_trend": 0.0},
    ("fusion", "at_trend"): {"at_reversion": 1.0, "at_neutral": 1.0},
}
NUMBERS = [found for found in KEYS if kind(*found) in (int, float)]


def test_keys_are_what_this_file_knows_of() -> None:
    assert len(NUMBERS) > 50
    others = {kind(*found) for found in KEYS if found not in NUMBERS}
    assert {one for one in others if get_origin(one) is None} == {bool, str}


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_no_key_takes_a_value_of_another_kind(section: str, key: str, tmp_path: Path) -> None:
    meant = kind(section, key)
    wrong = NO_NUMBERS if meant in (int, float) else NO_SWITCHES if meant is bool else (1, True, 2.5, ["a"], {})
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"^config: {section}\.{key}: .*\(got "):
            load_config(overrides={section: {key: value}})
        if isinstance(value, bool | int | float | str):
            file = tmp_path / "mine.toml"
            file.write_text(f"[{section}]\n{key} = {json.dumps(value)}\n")
            with pytest.raises(ConfigError, match=rf"^config: {section}\.{key}: "):
                load_config(file=file)


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_what_lies_beyond_a_bound_is_refused(section: str, key: str) -> None:
    least, most = bounds(section, key)
    below, above = [-1e308, np.nextafter(least, -np.inf)], [1e308, 10**400, np.nextafter(most, np.inf)]
    for value in (*below, *above, np.nan, np.inf, -np.inf):
        with pytest.raises(ConfigError, match=rf"^config: .*\b{key}\b"):
            load_config(overrides={section: {key: value}})


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_an_account_at_a_bound_has_numbers(section: str, key: str) -> None:
    """Regression: spread_half_life_bars = 1e-308 was a ZeroDivisionError, borrow 1e20 ended at -2e18."""
    bars = load_bars("us20", symbols=["KO", "PEP", "XOM"]).between(date(2020, 1, 2), date(2021, 4, 30))
    others = OTHERS.get((section, key), {})
    for value in {kind(section, key)(value) for value in bounds(section, key)}:
        try:
            config = load_config(overrides={"account": {"leverage": 1000.0}, section: {**others, key: value}})
        except ConfigError as refused:
            assert re.search("must (hold|be below|stay below|not rise)", str(refused)), (
                "two keys that contradict each other"
            )
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            made = run_backtest(bars, pairs="KO:PEP", config=config)
        for path in made.accounts.values():
            assert (np.abs(path.equity) < 100.0 * made.start_value).all()


@pytest.mark.parametrize("mode", MODES)
def test_whole_numbers_and_numpy_s_are_numbers(mode: str) -> None:
    given = {"account": {"cash": 5000, "lot": np.int64(2)}, "kalman": {"max_hold_bars": 20.0, "fit": np.True_}}
    config = load_config(mode, overrides=given)
    assert (config.account.cash, config.order_rules.lot) == (5000.0, 2.0) and type(config.account.cash) is float
    assert (config.pair_rules.max_hold_bars, config.kalman.fit) == (20, True)


FILES: dict[str, tuple[bytes, str]] = {
    "byte order mark": (codecs.BOM_UTF8 + b"[account]\ncash = 1e6\n", "byte order mark; save it as UTF-8 without"),
    "UTF-16": ("[account]\ncash = 1e6\n".encode("utf-16"), "is not TOML"),
    "5,000 digits": (b"[account]\ncash = " + b"1" * 5000, "a number of thousands of digits"),
    "4,000 digits": (b"[account]\ncash = " + b"1" * 4000, r"account\.cash: .* number"),
    "5,000 brackets": (b"[account]\ncash = " + b"[" * 5000 + b"]" * 5000, "brackets within brackets"),
    "5,000 tables": (b"[account]\ncash = " + b"{a=" * 5000, "brackets within brackets"),
    "a key of 5,000 letters": (b"[account]\n" + b"k" * 5000 + b" = 1", "unknown key"),
    "a section of 5,000 letters": (b"[" + b"k" * 5000 + b"]", "unknown section"),
    "a text of 5,000 letters": (b"[account]\ncash = '" + b"k" * 5000 + b"'", r"account\.cash: .* number"),
    "NUL": (b"\0" * 9, "is not TOML"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none_is_one_short_line(name: str, tmp_path: Path) -> None:
    content, why = FILES[name]
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=why) as told:
        load_config(file=file)
    assert len(str(told.value)) < 300 + len(str(file)) and "\n" not in str(told.value)


def test_a_path_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / ("x" * 300), "File name too long")):
        with pytest.raises(ConfigError, match=f"^config file .* cannot be read: .*{why}"):
            load_config(file=path)
