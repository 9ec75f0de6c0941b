"""live.html: an account beside its backtest, in one page that needs no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybrid_bt.brain.journal import moment_of, said
from hybrid_bt.errors import ConfigError
from hybrid_bt.files import whole_file, write_whole
from hybrid_bt.files.texts import escape, html_table, shown
from hybrid_bt.report.style import COLORS, HEAD
from hybrid_bt.trade.status import Standing, document

PAGE, TEARSHEET = "live.html", "live_tearsheet.html"
WIDTH, HEIGHT, LEFT, FOOT = 920, 300, 70, 24  #: of the chart, pixels
LINES_SHOWN = 200  #: of fills and of alarms, the latest
POINTS_SHOWN = 1840  #: of a line: two a pixel
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """body{max-width:960px;margin:20px auto;padding:0 16px;color:#222;font:14px/1.5 Arial,Helvetica,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:26px 0 6px}.grey{color:#666;font-size:13px}
table{border-collapse:collapse;width:100%}th,td{font-size:13px;padding:3px 8px;border-bottom:1px solid #e4e4e4}
th,td{text-align:right}th{color:#666;font-weight:normal}td.text,th.text{text-align:left}svg{width:100%;height:auto}
@media(max-width:600px){svg{overflow:visible;padding-left:30px;box-sizing:border-box}svg text{font-size:28px}}"""


def page(standing: Standing, name: str) -> str:
    """The whole page; `name` is what the account is called."""
    told = document(standing)
    bps = told["difference_bps"]
    head = f"Equity {told['equity']:,.2f}, in a backtest {told['backtest_equity']:,.2f}"
    head += "" if bps is None else f" ({bps:+.2f} bps)"
    facts = (
        f"{told['fills']} fills, on average {told['slippage_bps']:+.2f} bps worse than assumed; {told['alarms']} alarms"
    )
    held, assumed = told["positions"], told["backtest_positions"]
    positions = [
        [shown(symbol), *(f"{of.get(symbol, 0.0):,.10g}" for of in (held, assumed))]
        for symbol in sorted({*held, *assumed})
    ]
    waiting = [[shown(order.symbol), f"{order.size:+,.10g}"] for order in standing.pending]
    return (
        f'{HEAD}<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{escape(name)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(name)}</h1>"
        f'<p class="grey">{told["begun"]} to {told["bar"]}, {told["bars"]} bars</p><p>{head}. {facts}.</p>'
        f"{_chart(standing)}<h2>Alarms</h2>{_alarms(standing)}"
        f"<h2>Held at the last close</h2>{_table(['symbol', 'shares', 'in a backtest'], positions, 1)}"
        f"<h2>Orders that wait for the next open</h2>{_table(['symbol', 'shares'], waiting, 1)}"
        f"<h2>Fills against the assumed open</h2>{_fills(standing)}"
        '<p class="grey">The backtest trades the same targets on the same bars from the account of the first bar. '
        "Slippage above 0 is against us.</p></body></html>\n"
    )


def write_page(standing: Standing, name: str, folder: Path) -> Path:
    """Into an existing folder."""
    path = folder / PAGE
    write_whole(path, page(standing, name).encode())
    return path


def write_tearsheet(standing: Standing, name: str, folder: Path) -> Path:
    """quantstats' report on the live account, with its backtest as the benchmark.

    Raises
    ------
    ConfigError
        If there are too few returns, or quantstats cannot report on them.
    """
    from hybrid_bt.report import quantstats_page as quantstats

    path, live = folder / TEARSHEET, np.array(standing.twin.live)
    known = np.isfinite(live)
    stamps = np.array([moment_of(row.stamp) for row in standing.rows], "M8[ns]")[known]
    held = {"live": live[known], "backtest": standing.twin.path.equity[known]}
    with whole_file(path) as part:
        job = quantstats.job_on(
            stamps, held, part, name, f"{said(standing.rows[0].stamp)} on, net, as the broker has it"
        )
        why = quantstats.why_not(job.returns)
        if not why:
            with quantstats.Beside() as beside:
                beside.ask(job)
                why, *_ = beside.outcome()
        if why:
            raise ConfigError(f"tearsheet: {why}")
    return path


def _chart(standing: Standing) -> str:
    live, replayed = standing.twin.live, standing.twin.path.equity.tolist()
    known = [value for value in (*live, *replayed) if math.isfinite(value)]
    low, high = min(known), max(known)
    room = (high - low) or max(abs(high), 1.0) * 0.01
    low, high = low - 0.05 * room, high + 0.05 * room
    lines = [_line(replayed, low, high, COLORS["vol-target"], "5 3"), _line(live, low, high, COLORS["hybrid"], "")]
    step = 10.0 ** math.floor(math.log10((high - low) / 2.0))
    step *= next(some for some in (5.0, 2.0, 1.0) if some * step <= (high - low) / 2.0)
    first_tick = math.ceil(low / step)
    ticks = [step * k for k in range(first_tick, math.floor(high / step) + 1)]
    marks = "".join(
        f'<text stroke="none" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.0f}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        for tick, y in ((tick, _height(tick, low, high)) for tick in ticks)
    )
    first, last = said(standing.rows[0].stamp), said(standing.rows[-1].stamp)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="equity, live and in a backtest" font-size="12" '
        f'fill="#666" stroke="none"><g stroke="#e4e4e4" stroke-width="1">{marks}</g>'
        f'{"".join(lines)}<text x="{LEFT}" y="{HEIGHT - 6}">{first}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 6}" text-anchor="end">{last}</text>'
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle" fill="{COLORS["hybrid"]}">live; dashed: '
        "the backtest</text></svg>"
    )


def _height(value: float, low: float, high: float) -> float:
    return (HEIGHT - FOOT) * (1.0 - (value - low) / (high - low))


def _line(values: Sequence[float], low: float, high: float, color: str, dash: str) -> str:
    step = max(len(values) // POINTS_SHOWN, 1)
    kept = [k for k in range(len(values)) if math.isfinite(values[k]) and (k % step == 0 or k == len(values) - 1)]
    wide = (WIDTH - LEFT) / max(len(values) - 1, 1)
    points = " ".join(f"{LEFT + k * wide:.1f},{_height(values[k], low, high):.1f}" for k in kept)
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5" stroke-dasharray="{dash}"/>'


def _alarms(standing: Standing) -> str:
    rows = [[str(one.get(key, "")) for key in ("time", "event", "why")] for one in standing.alarms[-LINES_SHOWN:]]
    return _table(["time", "event", "why"], rows[::-1], 3)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """The first columns are texts."""
    return html_table(head, rows, kinds=[' class="text"'] * texts) if rows else "<p>None.</p>"


def _fills(standing: Standing) -> str:
    rows = [
        [
            said(one.stamp),
            shown(one.symbol),
            f"{one.size:+,.10g}",
            *(f"{x:,.4f}" for x in (one.price, one.assumed)),
            f"{one.bps:+.2f}",
        ]
        for one in standing.fills[-LINES_SHOWN:]
    ]
    head = ["bar", "symbol", "shares", "price", "assumed", "bps"]
    return _table(head, rows[::-1], 2)
