"""What the audit says: a short table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby

from hybrid_bt.audit.replays import Check, Forgetting
from hybrid_bt.audit.trace import Finding

MAX_FINDINGS = 5  #: told in full; JSON holds all
MAX_FORGETTING = 12
KINDS = ("future", "same bar", "run mode")  #: worst first


def as_text(subject: str, checks: Sequence[Check], forgetting: Sequence[Forgetting], seconds: float) -> str:
    """The whole answer, one line per check."""
    width = max(len(check.name) for check in checks)
    lines = [subject, f"  {'check':{width}}  {'bars':>6} {'replays':>8} {'numbers compared':>17} {'orders':>8}  result"]
    for check in checks:
        result = "clean" if not check.findings else f"found {len(check.findings)}"
        counts = f"{check.bars:6} {check.replays:8} {check.values:17,} {check.orders:8,}"
        lines.append(f"  {check.name:{width}}  {counts}  {result}")
    findings = [finding for check in checks for finding in check.findings]
    kinds = {finding.kind for finding in findings}
    verdict = "LEAK FOUND" if kinds - {"run mode"} else "RUN MODES DIFFER" if kinds else "clean"
    return "\n".join([*lines, *_told(findings), *_startup(forgetting), f"{verdict} ({seconds:.0f} s)"])


def _told(findings: list[Finding]) -> Iterator[str]:
    """The first finding of each kind and quantity, worst kind and earliest bar first."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in sorted(findings, key=lambda finding: (KINDS.index(finding.kind), finding.bar)):
        first.setdefault((finding.kind, finding.quantity), finding)
    for finding in list(first.values())[:MAX_FINDINGS]:
        before, after = finding.before, finding.after
        values = f"{after} instead of {before}" if finding.kind == "same bar" else f"{before} became {after}"
        yield f"  {finding.kind}: first on {finding.bar}, {finding.symbol}, {finding.quantity}: {values}"
        if finding.cut:
            yield f"      when the bars from {finding.cut} on were {finding.how.replace('cut', 'cut off', 1)}"
        elif finding.kind == "run mode":
            yield f"      the second one under {finding.how}"
    if len(first) > MAX_FINDINGS:
        yield f"  and {len(first) - MAX_FINDINGS} more quantities (--json lists all findings)"


def _startup(forgetting: Sequence[Forgetting]) -> Iterator[str]:
    """One line per quantity: its largest difference after k bars, for each k."""
    if not forgetting:
        return
    yield "  start-up: largest difference from a run that began earlier, k bars after the later start (not a failure)"
    groups = [list(group) for _, group in groupby(forgetting, key=lambda item: item.quantity)]
    width = max(len(group[0].quantity) for group in groups)
    for group in groups[:MAX_FORGETTING]:
        figures = "  ".join(f"k={item.after_bars}: {item.largest:.1e}" for item in group)
        yield f"    {group[0].quantity:{width}}  {figures}  (sd {group[0].deviation:.1e})"
    if len(groups) > MAX_FORGETTING:
        yield f"    and {len(groups) - MAX_FORGETTING} more (--json)"


def as_json(subject: str, checks: Sequence[Check], forgetting: Sequence[Forgetting], seconds: float) -> str:
    """The same with every finding."""
    told = [{**vars(check), "findings": [finding._asdict() for finding in check.findings]} for check in checks]
    answer = {"subject": subject, "clean": not any(check.findings for check in checks), "seconds": round(seconds, 1)}
    return json.dumps(answer | {"checks": told, "startup": [item._asdict() for item in forgetting]}, indent=2)
