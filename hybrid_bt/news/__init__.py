"""News and documents: a point-in-time store, scores of risk, and a manager that only reduces what is proposed."""
