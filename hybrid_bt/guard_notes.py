"""What a run says of its guard: the numbers in run.json, the notes below the table."""

from __future__ import annotations

from typing import Any

from hybrid_bt.config import Config, load_config


def numbers_of(config: Config) -> dict[str, Any]:
    """A configuration as plain data; a guard that is all off is left out, so that such a run's files, and its key among
    the trials, are those of a run without one."""
    numbers: dict[str, Any] = config.without_news()
    if config.guard == load_config().guard:
        del numbers["guard"]
    return numbers


def guard_notes(config: Config, report: dict[str, Any]) -> tuple[str, ...]:
    """Notes on what the guard did, from `AccountGuard.report`."""
    if not report:
        return ()
    triggers, first = report["triggers"], report["first"]
    notes = []
    failed = triggers.get("policy_failure", 0)
    if report["failures"]:
        more = "" if len(report["failures"]) == 1 else f" (and {len(report['failures']) - 1} other texts in run.json)"
        notes.append(
            f"POLICY FAILURE on {failed} traded bars: {report['failures'][0]}{more}; "
            f"the account was moved to its safe rule, {config.guard.on_policy_failure}."
        )
    hits = [
        f"{name} on {n} bars from {first[name][:10]} on" for name, n in triggers.items() if name != "policy_failure"
    ]
    if config.guard != load_config().guard:
        notes.append(
            f"The guard changed targets: {', '.join(hits)}." if hits else "The guard is on and changed no target."
        )
        notes.append("The accounts beside the hybrid are replayed without the guard.")
    return tuple(notes)
