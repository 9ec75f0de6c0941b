"""What a run writes: CSV, PNG, tearsheet, run.json."""
