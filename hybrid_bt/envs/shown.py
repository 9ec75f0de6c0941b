"""What is shown of an episode: its info, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.envs.lanes import Lanes, TrackRows
from hybrid_bt.equations.book import Account

WIDTH, ABOVE, BELOW, MARGIN = 480, 200, 120, 8  #: of a picture, the account above the positions, in pixels
GREY, LINE, LONG, SHORT = (190, 190, 190), (0, 0, 0), (0, 114, 178), (213, 94, 0)


class Shot(NamedTuple):
    """What a lane has at a close."""

    account: Account
    sizes: NDArray[np.float64]  #: (N,) signed shares held
    worth: NDArray[np.float64]  #: (N,) their value, signed
    row: int  #: of all tracks
    at_open: float  #: equity at the open that the next action fills at


def shot(lanes: Lanes, lane: int = 0) -> Shot:
    """Of one lane, now."""
    book, sizes = lanes.book(lane), np.asarray(lanes.book(lane).size)
    return Shot(lanes.account(lane), sizes, sizes * np.asarray(book.close), *lanes.stands(lane))


def told(film: Sequence[Shot], market: TrackRows) -> dict[str, Any]:
    """The info of an episode's last step: bar, account, what is held, and what it cost so far.

    row : as in `options` of `reset`; date
    equity, cash, growth : at the close; growth is equity over the episode's first
    weights : (N,) of equity, signed
    turnover : of this step, the value traded at the open over equity there
    commission, interest, fills, rejected : since the episode began; orders that the account could not pay are rejected
    """
    was, (account, sizes, worth, row, _) = film[-2:][0], film[-1]
    traded, track = sizes != was.sizes, np.searchsorted(market.offsets, row, side="right") - 1
    value = float(np.abs(sizes - was.sizes)[traded] @ market.panel[0, row][traded])
    return {
        "row": int(row - market.offsets[track]),
        "date": str(np.datetime64(int(market.panel[3, row, 0]), "D")),
        "equity": account.equity,
        "cash": account.cash,
        "growth": account.equity / film[0].account.equity,
        "weights": worth / account.equity if account.equity > 0.0 else np.zeros(len(worth)),
        "turnover": value / was.at_open,
        **{name: getattr(account, name) for name in ("commission", "interest", "fills", "rejected")},
    }


def frame(film: Sequence[Shot]) -> NDArray[np.uint8]:
    """Account and positions of an episode, (320, 480, 3): above, equity at each close between its lowest and highest,
    with a grey line where it began; below, what is held of each asset now, blue and upward what is long, orange and
    downward what is short, as a fraction of equity that is cut at 1.
    """
    picture = np.full((ABOVE + BELOW, WIDTH, 3), 255, np.uint8)
    equity, held = np.array([one.account.equity for one in film]), film[-1].worth
    share = (equity - equity.min()) / max(np.ptp(equity), 1e-9 * abs(equity[-1]))
    heights = np.round(ABOVE - MARGIN - (ABOVE - 2 * MARGIN) * share)
    middle, room = ABOVE + BELOW // 2, BELOW // 2 - MARGIN
    picture[[int(heights[0]), middle]] = GREY
    across = np.interp(np.arange(WIDTH), np.linspace(0, WIDTH - 1, len(film)), heights).astype(int)
    for x, (y, before) in enumerate(zip(across, [across[0], *across], strict=False)):
        picture[min(y, before) : max(y, before) + 2, x] = LINE
    edges = np.linspace(MARGIN, WIDTH - MARGIN, len(held) + 1).astype(int)
    for left, right, worth in zip(edges, edges[1:], held, strict=False):
        size = round(room * min(abs(worth) / max(equity[-1], 1e-9), 1.0))
        rows = slice(middle - size, middle) if worth > 0.0 else slice(middle + 1, middle + 1 + size)
        picture[rows, left : right - 1] = LONG if worth > 0.0 else SHORT
    return picture
