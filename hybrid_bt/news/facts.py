"""What a run says of its documents."""

from __future__ import annotations

from typing import Any

from hybrid_bt.config import Config
from hybrid_bt.news.desk import Desk
from hybrid_bt.news.stage import RiskStage

__all__ = ["news_facts", "news_notes", "settled_on"]


def settled_on(desk: Desk | None, config: Config) -> dict[str, Any]:
    """What makes a run with documents another trial than one without; nothing without."""
    if desk is None:
        return {}
    whole = {"scorer": desk.answers.scorer, "documents_sha256": desk.store.sha256()}
    return {"news": {**config.sections()["news"], **whole}}


def news_facts(stage: RiskStage | None) -> dict[str, Any]:
    """For `run.json`."""
    if stage is None:
        return {}
    desk = stage.desk
    return {
        "documents": {
            "store": desk.name,
            "sha256": desk.store.sha256(),
            "documents": len(desk.index),
            "without_first_seen_at": desk.index.n_unseen,
            "about_other_symbols": sorted(desk.index.symbols - set(desk.symbols))[:20],
            "retrieval": desk.index.retrieval,
            "symbols_without_documents": sorted(set(desk.symbols) - desk.index.symbols),
        },
        "risk_manager": {"scorer": desk.answers.scorer, **stage.counts, "answers": desk.answers.counts()},
    }


def news_notes(stage: RiskStage | None) -> tuple[str, ...]:
    """What every reader of the result must see."""
    if stage is None:
        return ()
    counts, desk = stage.counts, stage.desk
    notes = [
        f"Risk manager: {desk.answers.scorer} read {desk.name}, new documents on {counts['bars_with_documents']} of "
        f"{counts['bars']} bars; the account risk-off is the same hybrid without it."
    ]
    if desk.is_sample:
        notes.append("The embedded documents were chosen in hindsight: with them the risk manager proves nothing.")
    if desk.index.n_unseen:
        notes.append(
            f"{desk.index.n_unseen} of {len(desk.index)} documents have no first_seen_at and count as known one "
            "trading day after their publication."
        )
    if counts["failures"]:
        did = "took no new risk" if desk.config.on_failure == "no_new_risk" else "went on without a verdict"
        notes.append(f"The scorer failed on {counts['failures']} bars, which {did}.")
    return tuple(notes)
