"""The risk manager and what leads to it: it only takes exposure away, and no later document moves an earlier bar."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from news_cases import DAYS, store_of, text_of
from price_files import read, write_prices

from hybrid_bt.bars.market import Market
from hybrid_bt.commands.run import main
from hybrid_bt.config import load_config
from hybrid_bt.config.task import prepare
from hybrid_bt.equations.advice import Advice, ManagerParams, blend, multipliers, reduce
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.errors import NewsError
from hybrid_bt.evidence.audit.replays import last_rows
from hybrid_bt.evidence.audit.watch import CHANGES, audit_documents
from hybrid_bt.feeds import load_bars
from hybrid_bt.news import Document, checked_document, clock_of, closes_early, instant_us, is_daily, say_us
from hybrid_bt.news.answers import Answers
from hybrid_bt.news.desk import Desk, RiskStage
from hybrid_bt.news.index import index_of, visible
from hybrid_bt.news.lexicon import QUERY, LexiconScorer
from hybrid_bt.news.store import DocumentStore, documents_named, open_store
from hybrid_bt.news.verdicts import MARKET, Masked, Passage, RiskRequest, RiskVerdict, ScorerError

pytest.importorskip("bm25s")
pytest.importorskip("vaderSentiment")

PARAMS = ManagerParams(strength=0.75, min_multiplier=0.25, regime_weight=0.2)
CONFIG = load_config().news
N = 4
targets = st.lists(st.floats(-1, 1), min_size=N, max_size=N)
pairs = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda p: p[0] != p[1]), max_size=4)
risks = st.lists(st.floats(1, 5), min_size=N, max_size=N)


@settings(deadline=None)
@given(proposed=targets, held=targets, pairs=pairs, risk=risks, banned=st.booleans())
def test_manager_only_takes_away_and_never_blocks_an_exit(
    proposed: list[float], held: list[float], pairs: list[tuple[int, int]], risk: list[float], banned: bool
) -> None:
    advice = Advice(risk, [0.0] * N, no_new_risk=banned)
    m, _ = multipliers(proposed, held, pairs, advice, PARAMS)
    final = reduce(proposed, m)
    for before, after, last in zip(proposed, final, held, strict=True):
        assert abs(after) <= abs(before) and after * before >= 0.0
        if banned:  # not beyond the last one, and nothing on the other side of zero
            assert abs(after) <= abs(last) * (1 + 1e-12) and after * last >= 0.0
    assert all(m[y] == m[x] for y, x in pairs)


def test_multipliers_are_those_of_the_formula() -> None:
    advice = Advice([1.0, 3.0, 4.0, 5.0], [0.0] * N)
    alone = multipliers([0.1] * N, [0.0] * N, [], advice, PARAMS)
    assert alone == ([1.0, 1.0, 1.0 - 0.75 / 2, 0.25], [0, 1, 2, 3])
    chained = multipliers([0.1] * N, [0.0] * N, [(0, 2), (2, 3)], advice, PARAMS)
    assert chained == ([0.25, 1.0, 0.25, 0.25], [3, 1, 3, 3])


def test_regime_moves_by_weight_and_confidence_and_not_without() -> None:
    assert blend(0.5, Advice([], [], regime=-1.0, confidence=0.5), PARAMS) == pytest.approx(0.9 * 0.5 - 0.1)
    assert blend(-0.0, Advice([], [], regime=-1.0, confidence=0.0), PARAMS).hex() == (-0.0).hex()


# --- which documents are known ---


def asked_on(store: DocumentStore, days: np.ndarray = DAYS, k: int = 5) -> dict[str, list[str]]:
    """Day -> texts that are newly asked about."""
    cutoffs = clock_of(CONFIG, True).cutoffs(days)
    index = index_of(store)
    selected = index.select(cutoffs, ("KO",), k, 5 * 86_400_000_000)
    return {
        str(days[row]): [text_of(store, index, place) for _, places in documents for place in places]
        for row, documents in selected.items()
    }


@pytest.mark.parametrize(
    ("published", "first_asked"),
    [
        ("2015-02-10T20:45:00Z", "2015-02-10"),  # 15:45 in New York: a quarter of an hour before the close
        ("2015-02-10T20:45:01Z", "2015-02-11"),
        ("2015-02-10T03:00:00Z", "2015-02-10"),
    ],
)
def test_document_is_eligible_until_the_latency_before_the_close(published: str, first_asked: str) -> None:
    assert list(asked_on(store_of((published, "KO", "x")))) == [first_asked]


def test_document_without_first_seen_waits_a_trading_day() -> None:
    assert list(asked_on(store_of(("2015-02-10T12:00:00Z", "KO", "x"), unseen=True))) == ["2015-02-11"]


def test_close_follows_daylight_saving_and_bars_within_a_day_are_their_own_close() -> None:
    daily = clock_of(CONFIG, True)
    assert say_us(daily.cutoff(datetime(2015, 7, 1))) == "2015-07-01T19:45:00Z"
    assert say_us(daily.cutoff(datetime(2015, 1, 7))) == "2015-01-07T20:45:00Z"
    within = clock_of(CONFIG, is_daily(np.array(["2015-07-01T14:30", "2015-07-02"], "M8[ns]")))
    assert say_us(within.cutoff(datetime(2015, 7, 1, 14, 30))) == "2015-07-01T14:15:00Z"


def test_no_document_from_after_an_early_close_is_read_on_its_day() -> None:
    store = store_of(("2014-11-28T17:45:00Z", "KO", "at 12:45"), ("2014-11-28T18:05:00Z", "KO", "at 13:05"))
    asked = asked_on(store, np.array(["2014-11-28", "2014-12-01"], "M8[D]"))
    assert {day: set(texts) for day, texts in asked.items()} == {
        "2014-11-28": {"at 12:45"},
        "2014-12-01": {"at 12:45", "at 13:05"},
    }
    noon = clock_of(CONFIG._replace(**{"close_time": "12:00"}), True)
    london = clock_of(CONFIG._replace(**{"time_zone": "Europe/London"}), True)
    assert say_us(noon.cutoff(datetime(2014, 12, 24))) == "2014-12-24T16:45:00Z"  # never later than was asked
    assert say_us(london.cutoff(datetime(2014, 12, 24))) == "2014-12-24T15:45:00Z"  # another exchange's
    within = clock_of(CONFIG._replace(**{"stamp_zone": "America/New_York"}), False)
    assert say_us(within.cutoff(datetime(2014, 12, 24, 16))) == "2014-12-24T20:45:00Z"


@pytest.mark.filterwarnings("ignore:Series.values")  # of the calendars' own code
def test_early_closes_are_those_of_the_exchange_and_never_fewer() -> None:
    calendars = pytest.importorskip("exchange_calendars")
    closes = calendars.get_calendar("XNYS", start="1960-01-01", end="2026-12-31").closes
    local = closes.dt.tz_convert("America/New_York").dt
    early = {day.date() for day in closes.index[local.hour < 16]}
    ours = {day.date() for day in closes.index if closes_early(day.date())}
    assert early <= ours and closes[local.hour < 13].empty
    # snow, a halt and a failure, which that calendar does not have
    known = {date(1994, 2, 11), date(1996, 1, 8), date(1997, 10, 27), date(2005, 6, 1)}
    assert {day for day in ours - early if day.year >= 1993} == known


def test_ranks_are_those_of_bm25s_on_the_documents_known_then() -> None:
    bm25s = pytest.importorskip("bm25s")
    rng = np.random.default_rng(3)
    words = [*QUERY[:20], *(f"filler{i}" for i in range(40))]
    rows = [
        (f"2015-01-{day:02d}T{hour:02d}:00:00Z", "KO", " ".join(rng.choice(words, rng.integers(5, 40))))
        for day in range(6, 28)
        for hour in (10, 15)
    ]
    store = store_of(*rows)
    index = index_of(store)
    cutoffs = np.array(clock_of(CONFIG, True).cutoffs(DAYS))
    for row in (5, 12, 20):
        known = np.flatnonzero(index.visible <= cutoffs[row])
        texts = ["\n" + store.get(index.ids[place]).text for place in known]
        oracle = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        oracle.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
        expected = oracle.get_scores([word for word in QUERY if word in oracle.vocab_dict])
        ours = index.bm25(np.full(len(known), row), known, cutoffs)
        assert ours == pytest.approx(expected, rel=1e-5)  # bm25s keeps single precision
        assert len(known) and ours.max() > 0.0


# --- no look-ahead, and one answer however it is asked ---


def advice_of(store: DocumentStore, days: np.ndarray = DAYS, prepared: bool = True, k: int = 2) -> list[Advice]:
    config = CONFIG._replace(**{"documents": k})
    stage = RiskStage(Desk(store, Answers(LexiconScorer()), config, ("KO", "PEP")), daily=True)
    if prepared:
        stage.prepare(days)
    return [stage.advise(day) for day in days.astype("M8[us]").tolist()]


def many(seed: int = 0) -> list[tuple[str, str, str]]:
    rng = np.random.default_rng(seed)
    words = [
        "panic",
        "crash",
        "dividend",
        "beat",
        "lawsuit",
        "recall",
        "rally",
        "rebound",
        "risk",
        "loss",
        "tea",
        "cup",
    ]
    found = []
    for day in DAYS:
        for hour in rng.integers(0, 24, rng.integers(0, 4)):
            text = " ".join(rng.choice(words, 12)) + f" {rng.random()}"
            found.append((f"{day}T{hour:02d}:00:00Z", str(rng.choice(["KO", "PEP", "", "KO PEP"])), text))
    return found


@pytest.mark.parametrize("change", ["cut", "altered", "added"])
def test_documents_that_become_known_later_move_nothing_earlier(change: str) -> None:
    rows, day = many(), 30
    cutoff = clock_of(CONFIG, True).cutoffs(DAYS)[day]
    earlier = [row for row in rows if instant_us(row[0], "it") <= cutoff]
    later = [row for row in rows if instant_us(row[0], "it") > cutoff]
    other = {
        "cut": [],
        "altered": [(at, "KO", f"bankruptcy panic crash fraud {i}") for i, (at, _, _) in enumerate(later)],
        "added": [*later, *((at, "PEP", f"risk loss default {i}") for i, (at, _, _) in enumerate(later * 5))],
    }[change]
    before, after = advice_of(store_of(*earlier, *later)), advice_of(store_of(*other, *earlier))
    assert before[: day + 1] == after[: day + 1]
    assert before != after  # the later ones are read, when their time has come


def test_bar_by_bar_is_all_at_once_to_the_bit() -> None:
    assert advice_of(store_of(*many())) == advice_of(store_of(*many()), prepared=False)


def test_verdict_fades_by_half_lives_and_is_forgotten() -> None:
    advice = advice_of(store_of(("2015-01-05T12:00:00Z", "KO", "A lawsuit and a recall.")))
    excess = [one.risk[0] - 3.0 for one in advice]
    assert excess[0] > 0.0 and excess[3] == pytest.approx(excess[0] / 2)
    assert excess[CONFIG.memory_bars :] == [0.0] * (len(DAYS) - CONFIG.memory_bars)
    assert all(one.risk[1] == 3.0 for one in advice)


class Vetoing:
    name = "vetoing"

    def score(self, request: RiskRequest) -> RiskVerdict:
        return RiskVerdict(symbols={symbol: {"risk": 3, "sentiment": 0} for symbol in request.documents}, veto=True)


@pytest.mark.parametrize("bars", [1, 2, 3])
def test_veto_ends_after_its_bars(bars: int) -> None:
    config = CONFIG._replace(veto_bars=bars)
    store = store_of(("2015-01-06T12:00:00Z", "KO", "x"))
    stage = RiskStage(Desk(store, Answers(Vetoing()), config, ("KO",)), daily=True)
    banned = [stage.advise(day).no_new_risk for day in DAYS[:6].astype("M8[us]").tolist()]
    assert banned == [1 <= t < 1 + bars for t in range(6)]


class Failing:
    name = "failing"

    def score(self, request: RiskRequest) -> RiskVerdict:
        raise ScorerError("late: no answer")


@pytest.mark.parametrize("on_failure", ["no_new_risk", "neutral"])
def test_failure_takes_no_new_risk_or_is_neutral_and_is_counted(on_failure: str) -> None:
    config = CONFIG._replace(**{"on_failure": on_failure})
    store = store_of(("2015-01-06T12:00:00Z", "KO", "x"))
    stage = RiskStage(Desk(store, Answers(Failing()), config, ("KO",)), daily=True)
    advice = [stage.advise(day) for day in DAYS[:3].astype("M8[us]").tolist()]
    assert [one.no_new_risk for one in advice] == [False, on_failure == "no_new_risk", False]
    assert stage.counts["failures"] == 1 and "late" in advice[1].reasons[0]
    assert all(one.risk == [3.0] and one.confidence == 0.0 for one in advice)


def test_lexicon_tells_danger_from_good_news_and_reads_loughran_mcdonald(tmp_path: Path) -> None:
    def verdict(scorer: LexiconScorer, text: str) -> RiskVerdict:
        passages = (Passage("d", "2015-01-05T00:00:00Z", "wire", "", text),)
        return scorer.score(RiskRequest("2015-01-05T20:45:00Z", {"KO": passages, MARKET: passages}))

    bad, good = "Bankruptcy and fraud: the shares plunged.", "A great quarter beats expectations; the shares rally."
    vader = LexiconScorer()
    assert verdict(vader, bad).symbols["KO"].risk > 4.0 > 3.0 > verdict(vader, good).symbols["KO"].risk
    assert verdict(vader, bad).veto and not verdict(vader, good).veto
    (tmp_path / "lm.csv").write_text("Word,Negative,Positive\nGREAT,0,2009\nPLUNGED,2009,0\nFRAUD,-2020,0\n")
    own = LexiconScorer(tmp_path / "lm.csv")
    assert own.name != vader.name and own.name.startswith("lexicon-1-lm-")
    assert verdict(own, bad).symbols["KO"].sentiment == -1.0 and verdict(own, good).symbols["KO"].sentiment == 1.0


# --- whole runs ---


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of a run without the stage, with it on no documents, and with it on bad news about AAA."""
    home = tmp_path_factory.mktemp("risk")
    prices = write_prices(home / "four")
    (home / "none.jsonl").write_text("")
    days = np.busday_offset("2016-03-01", np.arange(0, 60, 5), roll="forward")
    bad = [
        {"text": f"Lawsuit, recall and fraud {day}", "published_at": f"{day}T10:00:00Z", "symbols": ["AAA"]}
        for day in days
    ]
    rows = [{**one, "first_seen_at": one["published_at"]} for one in bad]
    rows.append({"text": "Panic, crash, halted, meltdown", "published_at": "2016-03-08T10:00:00Z"})
    (home / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = {"off": (), "none": ("--risk", "lexicon", "--news", home / "none.jsonl")}
    flags["bad"] = ("--risk", "lexicon", "--news", home / "bad.jsonl")
    folders = {}
    for name, own in flags.items():
        folders[name] = home / name
        result = run("--data", prices, "--pairs", "BBB:AAA", "--out", home / name, "--no-plots", "--no-ledger", *own)
        assert result.exit_code == 0, result.output
    return folders


def test_no_documents_change_nothing_but_the_stage_s_own_columns(runs: dict[str, Path]) -> None:
    for table in ("equity", "fills", "pairs", "per_ticker_pnl", "attribution"):
        assert (runs["off"] / f"{table}.csv").read_bytes() == (runs["none"] / f"{table}.csv").read_bytes()
    off, none = read(runs["off"], "decisions"), read(runs["none"], "decisions")
    assert [{key: row[key] for key in off[0]} for row in none] == off
    assert all(row["m"] == "1.0" and row["proposed"] == row["target"] for row in none)
    summaries = read(runs["off"], "summary_pnl"), read(runs["none"], "summary_pnl")
    assert summaries[1][:-1] == summaries[0]
    assert summaries[1][-1] == {**summaries[0][0], "account": "risk-off"}


def test_every_change_is_a_row_with_its_reason_and_documents(runs: dict[str, Path]) -> None:
    rows = read(runs["bad"], "decisions")
    changed = [row for row in rows if row["proposed"] != row["target"]]
    assert changed and all(row["reason"] and row["documents"] for row in changed)
    for row in rows:
        assert float(row["target"]) == pytest.approx(float(row["m"]) * float(row["proposed"]), abs=1e-15)
        assert 0.0 <= float(row["m"]) <= 1.0
    off = {(row["datetime"], row["symbol"]): row for row in read(runs["off"], "decisions")}
    gross: dict[str, list[float]] = {}
    for row in rows:
        both = gross.setdefault(row["datetime"], [0.0, 0.0])
        both[0] += abs(float(row["target"]))
        both[1] += abs(float(off[row["datetime"], row["symbol"]]["target"]))
    assert all(mine <= without * (1 + 1e-12) for mine, without in gross.values())


def test_veto_lets_no_target_grow_on_its_bar(runs: dict[str, Path]) -> None:
    rows = read(runs["bad"], "decisions")
    days = sorted({row["datetime"] for row in rows})
    banned = [row for row in rows if row["no_new_risk"] == "1"]
    assert banned
    last = {(row["datetime"], row["symbol"]): abs(float(row["target"])) for row in rows}
    for row in banned:
        day = days[days.index(row["datetime"]) - 1]
        assert abs(float(row["target"])) <= last[day, row["symbol"]] * (1 + 1e-12)
        assert row["reason"].startswith("veto: ")


def test_run_json_names_documents_scorer_and_counts(runs: dict[str, Path]) -> None:
    said = json.loads((runs["bad"] / "run.json").read_text())
    assert said["documents"]["documents"] == 13 and said["documents"]["without_first_seen_at"] == 1
    assert said["documents"]["symbols_without_documents"] == ["BBB", "CCC", "DDD"]
    assert said["risk_manager"]["scorer"] == "lexicon-1" and said["risk_manager"]["failures"] == 0
    assert any("no first_seen_at" in note for note in said["notes"])
    off = json.loads((runs["off"] / "run.json").read_text())
    assert "news" not in off["config"] and "documents" not in off and "risk_manager" not in off


def test_flags_of_the_stage_without_it_are_refused(tmp_path: Path) -> None:
    result = run("--news", "sample", "--out", tmp_path)
    assert result.exit_code == 2 and "belongs to the risk manager" in result.stderr


def test_audit_of_documents_is_clean_and_finds_a_planted_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = last_rows(load_bars("us20"), WARMUP_BARS + 120)
    stack = prepare(Market("us20", bars, "KO:PEP"), allow_in_sample=True)
    documents = list(documents_named("sample").documents())
    assert audit_documents(stack, documents, LexiconScorer(), every=30).findings == []

    def two_days_early(documents: Sequence[Document]) -> np.ndarray:
        return visible(documents) - 2 * 86_400_000_000

    monkeypatch.setattr("hybrid_bt.news.index.visible", two_days_early)
    found = audit_documents(stack, documents, LexiconScorer(), every=2).findings
    assert {finding.how for finding in found} == set(CHANGES)


def test_evaluation_compares_with_none_late_masked_and_shuffled(tmp_path: Path) -> None:
    pytest.importorskip("arch")
    from hybrid_bt.commands.news import evaluate

    prices = write_prices(tmp_path / "four")
    row = {"text": "Lawsuit and fraud at Acme in 2016", "published_at": "2016-03-01T10:00:00Z", "symbols": ["AAA"]}
    (tmp_path / "n.jsonl").write_text(json.dumps(row))
    flags = ("--data", prices, "--risk", "lexicon", "--news", tmp_path / "n.jsonl", "--placebos", 3, "--out", tmp_path)
    result = CliRunner().invoke(evaluate, [str(flag) for flag in flags])
    assert result.exit_code == 0, result.output
    assert "placebos on shuffled days" in result.output and "contamination gap" in result.output
    rows = [line.split(",") for line in (tmp_path / "news_effects.csv").read_text().splitlines()]
    assert {line[1] for line in rows[1:]} == {"off", "on", "masked", "delayed", "placebo 0"}
    off = [line for line in rows if line[1] == "off"]
    assert all(float(line[6]) == 0.0 for line in off)


def test_mask_hides_names_and_dates_and_gives_the_verdict_back_in_them() -> None:
    seen: list[RiskRequest] = []

    class Spy:
        name = "spy"

        def score(self, request: RiskRequest) -> RiskVerdict:
            seen.append(request)
            return LexiconScorer().score(request)

    text = "Profits of Coca-Cola Co fell in May 2016; KO shares slumped on 2016-05-02."
    request = RiskRequest("2016-05-03T20:45:00Z", {"KO": (Passage("id-1", "2016-05-02T10:00:00Z", "wire", "", text),)})
    verdict = Masked(Spy()).score(request)
    shown = repr(seen[0])
    assert not [word for word in ("KO", "Coca", "2016", "id-1", "wire") if word in shown]
    assert set(verdict.symbols) == {"KO"} and verdict.documents == ("id-1",)


# --- what is kept beside the documents ---


def desk_of(store: DocumentStore) -> Desk:
    return Desk(store, Answers(LexiconScorer()), CONFIG, ("KO", "PEP"))


def read_from(store: DocumentStore, desk: Desk) -> list[str]:
    """What a backtest reads."""
    return [
        f"{cutoff} {name} {text_of(store, desk.index, place)}"
        for cutoff, found in desk.verdicts(clock_of(CONFIG, True).cutoffs(DAYS)).items()
        for name, places in (found[0] if found else ())
        for place in places
    ]


def kept_texts(path: Path) -> list[str]:
    """By way of what is kept beside the store."""
    store = open_store(path)
    return read_from(store, desk_of(store))


def fresh_texts(path: Path) -> list[str]:
    """From a store that has nothing kept."""
    store = DocumentStore()
    store.add(open_store(path).documents())
    return read_from(store, desk_of(store))


def test_index_is_made_once_and_never_outlives_its_documents(tmp_path: Path) -> None:
    path, kept, documents = tmp_path / "n.db", tmp_path / "n.db.index.npz", list(store_of(*many()).documents())
    with DocumentStore(path, write=True) as store:
        store.add(documents[:-20])
    first = kept_texts(path)
    written = kept.stat()
    assert first == kept_texts(path) == fresh_texts(path)
    assert (written.st_ino, written.st_mtime_ns) == (kept.stat().st_ino, kept.stat().st_mtime_ns)
    reader = open_store(path)
    desk = desk_of(reader)  # its index is read before the others are added, and asked afterwards
    assert desk.index.sha256 == reader.sha256()
    with DocumentStore(path, write=True) as store:
        store.add(documents[-20:])
    assert read_from(reader, desk) == first
    assert kept_texts(path) == fresh_texts(path) != first
    kept.replace(tmp_path / "of_others.npz")
    with DocumentStore(path, write=True) as store:
        store.add(checked_document({"text": "one more", "published_at": "2015-02-10"}, "test") for _ in "x")
    (tmp_path / "of_others.npz").replace(kept)
    assert kept_texts(path) == fresh_texts(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE documents SET first_seen_at = first_seen_at + 86400000000 WHERE number % 2",
        "UPDATE documents SET title = 'another' WHERE number = 3",
        "UPDATE documents SET text = 'another' WHERE number = 3",
        "UPDATE documents SET symbols = 'KO PEP' WHERE number = 3",
        "DELETE FROM documents WHERE number = 3",
        "DELETE FROM state",
        "INSERT INTO state VALUES ('x')",
    ],
)
def test_what_another_program_changed_is_named_and_no_document_more_is_taken(change: str, tmp_path: Path) -> None:
    path, documents = tmp_path / "n.db", list(store_of(*many()).documents())
    with DocumentStore(path, write=True) as store:
        store.add(documents)
    kept_texts(path)  # with its index at hand, too
    other = sqlite3.connect(path)
    other.execute(change)
    other.commit()
    other.close()
    for use in (kept_texts, fresh_texts):
        with pytest.raises(NewsError, match="its seal does not fit: it was damaged, or changed by another program"):
            use(path)


def flipped(whole: bytes, count: int, seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    places, bits = rng.integers(0, len(whole), count), 1 << rng.integers(0, 8, count)
    return [whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :] for i, bit in zip(places, bits.tolist(), strict=True)]


def test_flipped_bit_of_a_store_is_named_or_changes_nothing(tmp_path: Path) -> None:
    """Whether its index is at hand or not; by all that a run reads, and by what lists it."""
    path, kept = tmp_path / "n.db", tmp_path / "n.db.index.npz"
    with DocumentStore(path, write=True) as store:
        store.add(store_of(*many()).documents())
    expected, listed = kept_texts(path), list(open_store(path).documents())
    whole, index, named = path.read_bytes(), kept.read_bytes(), 0
    for number, content in enumerate(flipped(whole, 240, seed=1)):
        path.write_bytes(content)
        kept.write_bytes(index if number % 2 else b"")
        for use, sound in ((kept_texts, expected), (lambda path: list(open_store(path).documents()), listed)):
            try:
                assert use(path) == sound
            except NewsError as error:
                named += 1
                assert str(path) in str(error) and len(str(error).splitlines()) == 1 and len(str(error)) < 400
    assert named > 100


def test_damaged_index_is_made_anew(tmp_path: Path) -> None:
    path, kept = tmp_path / "n.db", tmp_path / "n.db.index.npz"
    with DocumentStore(path, write=True) as store:
        store.add(store_of(*many()[:12]).documents())
    expected = kept_texts(path)
    whole = kept.read_bytes()
    damaged = [whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(0, len(whole), 101)]
    for content in (*damaged, whole[: len(whole) // 2], b"", b"no arrays at all"):
        kept.write_bytes(content)
        assert kept_texts(path) == expected
    kept.write_bytes(b"")
    assert kept_texts(path) == expected and len(kept.read_bytes()) == len(whole)
    kept.unlink()
    kept.mkdir()  # where it cannot be kept, it is made again each time
    assert kept_texts(path) == expected
