"""Runs in vectorbt's own interpreter: `from_orders` on prices and sizes read from a file.

    python vectorbt_pairs.py FILE.npz      then one line on stdin per measurement

Answers each line with CPU seconds and the final equity.
"""

import sys
import time

import numpy as np
import vectorbt as vbt


def main() -> None:
    """Serve measurements until stdin ends."""
    given = np.load(sys.argv[1])
    opens, closes, orders = given["opens"], given["closes"], given["orders"]
    cash, fee = float(given["cash"]), float(given["fee"])
    sizes = np.where(orders == 0.0, np.nan, orders)

    def run() -> float:
        account = vbt.Portfolio.from_orders(
            closes, size=sizes, price=opens, fees=fee, init_cash=cash, cash_sharing=True, group_by=True, freq="1D"
        )
        return float(np.asarray(account.value())[-1])

    run()  # compiles
    for _ in sys.stdin:
        before = time.process_time()
        equity = run()
        print(time.process_time() - before, repr(equity), flush=True)


if __name__ == "__main__":
    main()
