"""What an audit found, as it is said: a short table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.evidence.audit.replays import Check
from hybrid_bt.evidence.audit.trace import Leak
from hybrid_bt.files.texts import shown

MAX_FINDINGS = 5  #: told in full; JSON holds all
#: kind of finding, worst first -> what is said of it in the end
FINDING_KINDS = {
    "future": "LEAK FOUND",
    "same bar": "LEAK FOUND",
    "end": "KNOWS WHERE THE DATA END: no price behind it, but how many bars there are, or their dates, moved orders",
    "run mode": "RUN MODES DIFFER",
}


class Audit(NamedTuple):
    """What an audit looked at and found; it shows itself as a table."""

    subject: str
    checks: Sequence[Check]

    @property
    def findings(self) -> list[Leak]:
        """Whatever moved that must not; empty where nothing did. What moved no order stands in the checks' `lines`."""
        return [finding for check in self.checks for finding in check.findings]

    def __repr__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        head = f"  {'check':{width}}  {'bars':>6} {'replays':>8} {'numbers compared':>17} {'orders':>8}  result"
        lines = [self.subject, head]
        for check in self.checks:
            result = "clean" if not check.findings else f"found {len(check.findings)}"
            counts = f"{check.bars:6} {check.replays:8} {check.values:17,} {check.orders:8,}"
            lines.append(f"  {check.name:{width}}  {counts}  {result}")
        named = _told([line for check in self.checks for line in check.lines], "line, ")
        notes = [f"  note: {note}" for check in self.checks for note in check.notes]
        kinds = {finding.kind for finding in self.findings}
        clean = "clean: lines moved, and no order with them" if any(check.lines for check in self.checks) else "clean"
        verdict = next((said for kind, said in FINDING_KINDS.items() if kind in kinds), clean)
        return "\n".join([*lines, *_told(self.findings), *named, *notes, verdict])

    def as_json(self) -> str:
        """The same with every finding."""
        leaks = ("findings", "lines")
        told = [
            vars(check) | {name: [one._asdict() for one in getattr(check, name)] for name in leaks}
            for check in self.checks
        ]
        answer = {"subject": self.subject, "clean": not self.findings}
        return json.dumps(answer | {"checks": told}, indent=2)


def audit_of(name: str, bars: Bars, checks: Sequence[Check]) -> Audit:
    """What was found in what was audited, on which bars."""
    span = f"{say_stamp(bars.stamps[0])} to {say_stamp(bars.stamps[-1])}"
    subject = f"audit of {name} on {bars.name}, {bars.n_symbols} symbols, {bars.n_bars} bars, {span}"
    return Audit(shown(subject), checks)


def _told(findings: list[Leak], what: str = "") -> Iterator[str]:
    """The first finding of each kind and quantity, worst kind and earliest bar first."""
    first: dict[tuple[str, str], Leak] = {}
    for finding in sorted(findings, key=lambda finding: ([*FINDING_KINDS].index(finding.kind), finding.bar)):
        first.setdefault((finding.kind, finding.quantity), finding)
    for finding in list(first.values())[:MAX_FINDINGS]:
        before, after = finding.before, finding.after
        values = f"{after} instead of {before}" if finding.kind == "same bar" else f"{before} became {after}"
        yield f"  {what}{finding.kind}: first on {finding.bar}, {finding.symbol}, {finding.quantity}: {values}"
        if finding.cut:
            yield f"      when the bars from {finding.cut} on were {finding.how.replace('cut', 'cut off', 1)}"
        elif finding.kind == "run mode":
            yield f"      the second one under {finding.how}"
    if len(first) > MAX_FINDINGS:
        yield f"  and {len(first) - MAX_FINDINGS} more quantities (--json lists all findings)"
