"""From closes to targets: what is seen, what each leg wants, the gate, the mix and its limits."""
