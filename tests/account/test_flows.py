"""What fills did to an account: split by symbol, to a cent."""

from __future__ import annotations

from broker_cases import Panel, hand_account, net_of_symbols, panel_of

from hybrid_bt.account.flows import by_symbol, flows_of, marked_close
from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.replay import replay
from hybrid_bt.equations.costs import Costs


def split(path: AccountPath, panel: Panel) -> dict[str, list[float]]:
    return {
        name: column.tolist() for name, column in by_symbol(path, flows_of(path, marked_close(panel.close))).items()
    }


def test_profit_by_symbol_by_hand() -> None:
    path, panel = hand_account()
    assert split(path, panel) == {
        "gross_pnl": [100.0, -10.0],
        "costs": [2.0, 2.5],
        "pnl_net": [98.0, -12.5],
        "buys": [1, 0],
        "sells": [1, 1],
        "trades": [1, 1],
    }
    assert net_of_symbols(path, panel) == path.equity[-1] - 1000.0


def test_a_flip_is_a_round_trip() -> None:
    # +50, to -50 (one trip), to 0 (another)
    panel = panel_of([[10.0]] * 5, [[10.0]] * 5)
    path = replay([[0.5], [-0.5], [0.0], [0.0], [0.0]], panel, cash=1000.0, costs=Costs(0.0, 0.0, 0.0))
    found = split(path, panel)
    assert (found["trades"], found["buys"], found["sells"]) == ([2], [2], [1])
