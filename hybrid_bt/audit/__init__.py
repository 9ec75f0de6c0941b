"""The look-ahead audit: whatever was known at a bar must not move when later bars are cut off or altered.

alterations   copies of a panel with another future
trace         what a run left behind, bar by bar, and where two runs part
probe         reads a trace out of any Backtrader strategy
watch         reads a trace out of the brain: recursions, observations, LSTM state, decisions
replays       one run against many futures, and against other run modes
stack         this package's own stack, with Backtrader and without it
user          anybody's strategy
startup       how far values depend on where history begins
report        table and JSON
"""
