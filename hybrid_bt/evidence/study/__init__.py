"""Is this result real? Walk-forward windows, ablations, seeds, costs and delays, with intervals."""
