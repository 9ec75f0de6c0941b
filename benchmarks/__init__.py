"""Speed and memory beside what one would use otherwise: `python -m benchmarks`, from a checkout."""
