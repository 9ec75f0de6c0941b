"""The look-ahead audit: whatever was known at a bar must not move when later bars are cut off or altered.

trace         what a run left behind, bar by bar, and where two runs part
replays       one run against many futures, other run modes and later starts
cerebros      a trace out of any Backtrader strategy, in every feed class and run mode
watch         the brain under watch: recursions, features, LSTM state, decisions
stack         this package's own stack, with Backtrader and without it
user          anybody's strategy
documents     the risk manager
report        table and JSON
"""
