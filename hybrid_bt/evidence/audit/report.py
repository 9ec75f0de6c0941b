"""What an audit found, and how it says so: a short table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.evidence.audit.replays import Check, Forgetting
from hybrid_bt.evidence.audit.trace import Finding

MAX_FINDINGS = 5  #: told in full; JSON holds all
MAX_FORGETTING = 12
KINDS = ("future", "same bar", "run mode")  #: worst first


class Audit(NamedTuple):
    """What an audit looked at and found; it shows itself as a table."""

    subject: str
    checks: Sequence[Check]
    startup: Sequence[Forgetting]  #: how far quantities depend on where history begins; not a failure
    seconds: float

    @property
    def findings(self) -> list[Finding]:
        """Whatever moved that must not; empty where nothing did."""
        return [finding for check in self.checks for finding in check.findings]

    def __repr__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        head = f"  {'check':{width}}  {'bars':>6} {'replays':>8} {'numbers compared':>17} {'orders':>8}  result"
        lines = [self.subject, head]
        for check in self.checks:
            result = "clean" if not check.findings else f"found {len(check.findings)}"
            counts = f"{check.bars:6} {check.replays:8} {check.values:17,} {check.orders:8,}"
            lines.append(f"  {check.name:{width}}  {counts}  {result}")
        kinds = {finding.kind for finding in self.findings}
        verdict = "LEAK FOUND" if kinds - {"run mode"} else "RUN MODES DIFFER" if kinds else "clean"
        lines += [*_told(self.findings), *_startup(self.startup), f"{verdict} ({self.seconds:.0f} s)"]
        return "\n".join(lines)

    def as_json(self) -> str:
        """The same with every finding."""
        told = [{**vars(check), "findings": [one._asdict() for one in check.findings]} for check in self.checks]
        answer = {"subject": self.subject, "clean": not self.findings, "seconds": round(self.seconds, 1)}
        return json.dumps(answer | {"checks": told, "startup": [item._asdict() for item in self.startup]}, indent=2)


def subject_of(name: str, bars: Bars) -> str:
    """What was audited, on which bars."""
    span = f"{say_stamp(bars.stamps[0])} to {say_stamp(bars.stamps[-1])}"
    return f"audit of {name} on {bars.name}, {bars.n_symbols} symbols, {bars.n_bars} bars, {span}"


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
