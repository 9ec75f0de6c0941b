"""The look-ahead audit: whatever was known at a bar must not move when later bars are cut off or altered.

trace         what a run left behind, bar by bar, and where two runs part
replays       one run against many futures and in other run modes; what was found, as table and JSON
cerebros      a trace out of any Backtrader strategy, in every feed class and run mode
watch         brain and risk manager under watch: recursions, features, LSTM state, decisions, documents
stack         this package's own stack, with Backtrader and without it
user          anybody's strategy
leg_check     a leg of one's own against the contract of a leg
"""
