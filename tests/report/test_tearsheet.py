"""Pictures and pages of a run: the same bytes twice, nothing blank, no network, two programs that agree."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from report_cases import START, SYMBOLS, contents, make_record, rows

from hybrid_bt import report
from hybrid_bt.account.records import RunRecord
from hybrid_bt.account.registry import HURDLES
from hybrid_bt.brain.laid import ManagedPaths
from hybrid_bt.errors import BarsError
from hybrid_bt.report import OUR_FILES, curves, quantstats_page, tearsheet, write_report
from hybrid_bt.report.quantstats_page import daily_returns
from hybrid_bt.report.style import in_sample_spans
from hybrid_bt.report.tearsheet import METRICS, Compared, Sentence, alike, cross_check, first_page


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return make_record(in_sample=20)


@pytest.fixture(scope="module")
def full(record, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    written = write_report(record, out, claim="claim of a test")
    assert {path.name for path in written} == set(OUR_FILES) - {
        "risk.png",
    }  # no documents were read
    return out


def test_in_sample_spans():
    assert in_sample_spans(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 1), (3, 3), (6, 6)]
    assert in_sample_spans(np.zeros(3, bool)) == []


def test_daily_returns_of_intraday_bars_count_from_the_start_value():
    stamps = np.array(["2020-01-01T10", "2020-01-01T16", "2020-01-02T10", "2020-01-02T16"], "datetime64[ns]")
    days, returns = daily_returns(np.array([100.0, 110.0, 0.5, 99.0]), stamps)
    assert days.astype(str).tolist() == ["2020-01-01", "2020-01-02"]
    assert returns == pytest.approx([0.1, -0.1])
    days, returns = daily_returns(np.array([100.0, 110.0]), stamps[::2].astype("datetime64[D]"))
    assert days.astype(str).tolist() == ["2020-01-02"]
    assert returns == pytest.approx([0.1])


def test_same_record_gives_the_same_bytes(record, full, tmp_path):
    again = write_report(record, tmp_path / "again", claim="claim of a test")
    assert {path.name: path.read_bytes() for path in again} == contents(full)


def test_pictures_are_1200_wide_and_not_blank(full, record):
    from matplotlib.image import imread

    for name in report.picture_names(record):
        image = imread(full / name)
        assert image.shape[1] == 1200, name
        ink = (image[:, :, :3].min(axis=2) < 0.9).mean(axis=0)
        assert (ink[150:1000] > 0).mean() > 0.9, f"{name} has empty columns"


def test_a_name_stands_where_its_line_ends(record):
    from matplotlib.dates import date2num

    t, n = record.decisions.target.shape
    one, texts = np.ones((t, n)), ("",) * (t * n)
    managed = ManagedPaths(
        2.0 * record.decisions.target, one, one[:, 0], one, one, one[:, 0], one[:, 0], one[:, 0] < 0, texts, texts
    )
    of = dataclasses.replace(record, decisions=dataclasses.replace(record.decisions, managed=managed))
    figure = curves.risk_manager(of, date2num(record.bars.stamps))
    axes = figure.axes[1]
    (name,) = [text for text in axes.texts if text.get_text().startswith("final")]
    assert "50.0% taken" in name.get_text()
    final = axes.lines[0].get_ydata()[-1]
    _, height = axes.transAxes.inverted().transform(axes.transData.transform((0.0, final)))
    assert name.xy[1] == pytest.approx(height, abs=0.02)


def test_tearsheet_needs_no_network_and_says_what_it_shows(full):
    page = (full / "tearsheet.html").read_text(encoding="utf-8")
    assert not re.search(r"<(link|script|iframe|img)\b|@import|url\((?!#)|\bsrc=|onload=", page)
    assert set(re.findall(r'href="(?!#)([^"]*)', page)) <= {"http://quantstats.io"}
    title = re.search(r"<title>(.*?)</title>", page)
    assert title and title[1] == "PARTLY IN SAMPLE · hybrid against equal-weight"
    assert "toy · 2020-01-01 to 2020-03-30 · net of costs: 2 bps a side" in page
    assert page.count("<svg") > 10 and "Sharpe" in page


@pytest.mark.parametrize(
    "record",
    [make_record(every=0.0), make_record(2), make_record(40, minutes=97, pairs=(), in_sample=40)],
    ids=["never traded", "two bars", "intraday without pairs"],
)
def test_bare_runs_are_drawn_too(record, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # quantstats neither failed nor disagreed
        names = {path.name for path in write_report(record, tmp_path)}
    assert names == set(OUR_FILES) - {"risk.png"} - (set() if record.pairs.names else {"pairs.png"})
    page = (tmp_path / "tearsheet.html").read_text(encoding="utf-8")
    assert ("never vary" in page) == (not record.accounts["hybrid"].fills and record.bars.n_bars > 2)
    assert ("IN SAMPLE" in page) == bool(record.in_sample.all())


def test_a_ruined_account_is_reported(tmp_path):
    record = make_record(30)
    equity = np.concatenate([np.linspace(START, -5.0, 10), np.full(20, -5.0)])
    ruined = dataclasses.replace(record.accounts["hybrid"], equity=equity)
    record = dataclasses.replace(record, accounts={**record.accounts, "hybrid": ruined})
    write_report(record, tmp_path)
    assert rows(tmp_path, "summary_pnl")[0]["cagr"] == "-1.0"
    assert math.isfinite(float(rows(tmp_path, "equity")[-1]["gross_exposure"]))
    assert "ruined" in (tmp_path / "tearsheet.html").read_text(encoding="utf-8")


def without_quantstats(folder: Path, how: str) -> str:
    (folder / "quantstats.py").write_text(how)
    return str(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise ModuleNotFoundError(\"No module named 'quantstats'\")", "No module named 'quantstats'"),
        ("import sys; sys.exit(3)", "status 3"),
        ("raise ValueError('a change in some version')", "a change in some version"),
    ],
    ids=["missing", "dead", "broken"],
)
def test_without_quantstats_the_page_is_ours_and_says_why(record, tmp_path, monkeypatch, how, said):
    monkeypatch.syspath_prepend(without_quantstats(tmp_path, how))
    report.write_picture(record, "equity_drawdown.png", tmp_path)
    with quantstats_page.Beside() as beside, pytest.warns(UserWarning) as told:
        page = tearsheet.Tearsheet(record, tmp_path, "claim: none", beside).finish().read_text(encoding="utf-8")
    assert len(told) == 1 and said in str(told[0].message) and "\n" not in str(told[0].message)
    assert "claim: none" in page and "PARTLY IN SAMPLE" in page and "data:image/png;base64," in page
    assert said in page.replace("&#x27;", "'")
    assert not re.search(r"https?:", page)


@pytest.mark.parametrize(("broken", "made"), [(False, "made beside"), (True, "made here")])
def test_the_sentence_is_made_in_the_other_process_and_here_where_that_fails(
    record, full, tmp_path, monkeypatch, broken, made
):
    monkeypatch.setitem(quantstats_page.FIXED, "MADE", "made beside")
    monkeypatch.setenv("MADE", "made here")
    out, claim = tmp_path / "again", Sentence(partial(os.getenv, "MADE", ""))
    if broken:
        monkeypatch.syspath_prepend(without_quantstats(tmp_path, "raise ValueError('broken')"))
        with pytest.warns(UserWarning, match="broken"):
            write_report(record, out, claim=claim)
    else:
        write_report(record, out, claim=claim)
    monkeypatch.setenv("MADE", "made twice")
    page = (out / "tearsheet.html").read_text(encoding="utf-8")
    assert f'<p class="claim">{made}</p>' in page and str(claim) == made
    assert contents(out).keys() == contents(full).keys()


def test_a_process_that_began_early_is_asked_and_one_that_is_not_asked_ends(record, full, tmp_path):
    with quantstats_page.Beside() as beside:
        write_report(record, tmp_path / "again", claim="claim of a test", beside=beside)
    assert contents(tmp_path / "again") == contents(full)
    with quantstats_page.Beside():
        pass


def test_a_quantstats_that_never_ends_is_ended(record, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(without_quantstats(tmp_path, "import time; time.sleep(60)"))
    monkeypatch.setattr(quantstats_page, "LONGEST_SECONDS", 1.0)
    with quantstats_page.Beside() as beside, pytest.warns(UserWarning, match="more than 1 s"):
        page = tearsheet.Tearsheet(record, tmp_path, "", beside).finish()
    assert "more than 1 s" in page.read_text(encoding="utf-8")


def test_the_first_page_gives_each_metric_twice_and_leaves_nothing_unexplained(full):
    page = (full / "tearsheet.html").read_text(encoding="utf-8")
    first, rest = page.split("</section>", 1)
    assert first.index("claim of a test") < first.index("Cross-check") and "Key Performance Metrics" in rest
    figures = re.findall(r"<tr><td>hybrid</td><td class=\"text\">([^<]*)</td>" + r"<td>([^<]*)</td>" * 4, first)
    assert [row[0] for row in figures] == list(METRICS)
    summary = rows(full, "summary_pnl")[0]
    sharpe = next(row for row in figures if row[0] == "Sharpe")
    assert sharpe[1] == f"{float(summary['sharpe']):.4f}".replace("-", "\u2212")
    assert sharpe[2] == sharpe[3], "quantstats and our formula under its conventions"
    assert "nothing is left unexplained" in first


def test_a_difference_that_conventions_do_not_explain_is_told():
    returns = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    ours = alike(returns, 252)
    wrong = ours | {"Sharpe": ours["Sharpe"] * 1.001}
    found = [Compared("hybrid", metric, ours[metric], ours[metric], wrong[metric]) for metric in METRICS]
    assert [check.metric for check in found if not check.agrees] == ["Sharpe"]
    page = cross_check(found, dict.fromkeys(METRICS, ""))
    assert "DISAGREE" in page and page.count('class="bad"') == 1


def test_the_metrics_under_quantstats_conventions_are_worked_out_by_hand():
    found = alike(np.array([0.1, -0.5, 0.2]), 3)
    assert found["total return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert found["CAGR"] == pytest.approx(found["total return"]), "three periods are one year"
    assert found["max drawdown"] == pytest.approx(-0.5)
    mean = -0.2 / 3
    deviation = math.sqrt(sum((r - mean) ** 2 for r in (0.1, -0.5, 0.2)) / 2)
    assert found["Sharpe"] == pytest.approx(math.sqrt(3) * mean / deviation)
    assert found["Sortino"] == pytest.approx(math.sqrt(3) * mean / math.sqrt(0.25 / 3))


def test_the_symbols_of_the_picture_of_fills_can_be_chosen(record, tmp_path, monkeypatch):
    drawn: list[list[str]] = []
    monkeypatch.setattr(report, "save", lambda figure, path: drawn.append(_panel_names(figure)))
    for chosen in ((), ("PEP",), ("A$B", "KO", "A$B")):
        report.write_picture(record, "trades.png", tmp_path, chosen)
    assert [sorted(set(names) & set(SYMBOLS)) for names in drawn] == [sorted(SYMBOLS), ["PEP"], ["A$B", "KO"]]
    assert sum("position" in name for name in drawn[2]) == 2, "a panel of the position below each price"
    with pytest.raises(BarsError, match="did you mean 'PEP'"):
        report.write_picture(record, "trades.png", tmp_path, ("PEPP",))


def _panel_names(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_the_hurdle_stands_right_behind_the_hybrid() -> None:
    record = make_record()
    page = first_page(record, "claim: so and so")
    order = [page.index(f">{name}</td>") for name in ("hybrid", *(name for name in HURDLES if name in record.accounts))]
    others = [page.index(f">{name}</td>") for name in record.accounts if name not in ("hybrid", *HURDLES)]
    assert order == sorted(order) and max(order) < min(others) and page.index("claim: so and so") < order[0]
