"""Trade one bar at a time with a broker behind a small protocol, and stand beside every fill what a backtest had."""
