"""What a run writes: CSV, PNG, tearsheet, run.json."""

from __future__ import annotations

from hybrid_bt.report.result import OUR_FILES, Run, write_report

__all__ = ["OUR_FILES", "Run", "write_report"]
