"""From targets to an account: the one loop, the registry of accounts, what an account shows, and proofs of it."""
