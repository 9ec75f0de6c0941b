"""The decision explorer: whole, inert, and saying what the tables say."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from report_cases import T, make_record
from trade_cases import Desk as TradeDesk
from trade_cases import small

from hybrid_bt import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.bars.stamps import Stamps
from hybrid_bt.brain.laid import ManagedPaths
from hybrid_bt.brain.limits import listed
from hybrid_bt.config import load_config
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.guard_limits import RULES
from hybrid_bt.feeds import as_market
from hybrid_bt.report.explorer import page, write_explorer
from hybrid_bt.report.quantstats_page import Beside
from hybrid_bt.report.tearsheet import Tearsheet
from hybrid_bt.trade.page import write_page
from hybrid_bt.trade.status import read_standing

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SANDBOX = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def part(text: str, name: str):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(text: str, name: str) -> np.ndarray:
    kind, data = part(text, "arrays")[name]
    return np.frombuffer(base64.b64decode(data), kind)


def test_the_page_holds_the_run_s_numbers():
    record = make_record()
    text = page(record)
    assert np.array_equal(unpacked(text, "equity:hybrid"), record.accounts["hybrid"].equity)
    assert np.array_equal(unpacked(text, "size"), [fill.size for fill in record.accounts["hybrid"].fills])
    assert np.array_equal(unpacked(text, "target"), record.decisions.target.astype("<f4").ravel())
    assert np.array_equal(unpacked(text, "z"), record.pairs.zscore.astype("<f4").ravel(), equal_nan=True)
    assert part(text, "facts")["symbols"] == list(record.bars.symbols)


def test_the_same_record_gives_the_same_page():
    assert page(make_record()) == page(make_record())


def test_nothing_is_loaded_from_anywhere():
    own = re.sub(r"<script>/\*\*\n\* plotly.js.*?</script>", "", page(make_record()), count=1, flags=re.DOTALL)
    assert len(own) < 300_000, "plotly.js is there once, and was taken out"
    assert "default-src 'none'" in own
    assert not re.search(r'(src|href)="', own) and "http" not in own.replace("http-equiv", "")


def test_names_cannot_break_out_of_the_page():
    record = make_record()
    names = ("KO", "</script><script>alert(1)</script>", "{{plotly}}")
    bars = record.bars
    hostile = Bars(bars.name, names, bars.stamps, bars.open, bars.high, bars.low, bars.close, bars.volume)
    pairs = dataclasses.replace(record.pairs, names=("KO:{{plotly}}",))
    text = page(dataclasses.replace(record, bars=hostile, pairs=pairs))
    assert "<script>alert" not in text
    assert text.count("* plotly.js") == 1


@pytest.mark.parametrize(
    "name", ["{{facts}}", "{{arrays}}{{title}}", "{{plotly}}", "{{policy}}", "/* managed */", "<b>\x1b"]
)
def test_a_name_that_is_a_mark_stays_a_name(name: str):
    record = make_record()
    bars = dataclasses.replace(record.bars, name=name)
    text = page(dataclasses.replace(record, bars=bars, notes=(f"note {name}",)))
    facts = part(text, "facts")
    assert facts["title"].endswith(name.replace("\x1b", "\\x1b")) and facts["notes"][0][5:] in facts["title"]
    assert len(part(text, "arrays")) > 5 and text.count("* plotly.js") == 1


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright  # the extra `browser`

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SANDBOX)
        yield chromium
        chromium.close()


@pytest.mark.browser
def test_clicks_and_keys_tell_why(browser, tmp_path: Path):
    record = make_record(t=3000, every=0.05)
    tab = browser.new_page(viewport={"width": 1200, "height": 1080})
    said: list[str] = []
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("request", lambda request: said.append(request.url))
    address = write_explorer(record, tmp_path).as_uri()
    tab.goto(address)
    tab.wait_for_selector("body[data-ready=yes]")

    tab.click("#symbols >> text=PEP")
    box = tab.locator("#chart").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 100)
    assert tab.inner_text("#state").startswith("kept")
    tab.keyboard.press("Shift+ArrowRight")
    row = int(tab.evaluate("view.bar"))
    fill = next(f for f in record.accounts["hybrid"].fills if f.symbol == 1 and f.decided == row)
    when = np.datetime_as_string(record.bars.stamps[row], "D")
    assert tab.inner_text("#when").endswith(when) and tab.inner_text("#when").startswith("PEP")
    words = tab.inner_text("#why").replace("\u2212", "-")
    assert f"{fill.size:+,.0f} PEP" in words
    assert f"r = {record.decisions.regime[row]:+.2f}" in words
    assert f"SAC wants {record.decisions.legs['sac'][row, 1]:+.4f} PEP" in words
    assert f"KO:PEP z = {np.float32(record.pairs.zscore[row, 0]):+.1f}" in words
    assert f"Target {record.decisions.target[row, 1]:+.3f}" in words

    tab.keyboard.press("ArrowLeft")
    assert int(tab.evaluate("view.bar")) == row - 1
    tab.mouse.move(box["x"] + 250, box["y"] + 100)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 400, box["y"] + 100, steps=4)
    tab.mouse.up()
    tab.wait_for_function("view.last - view.first < 1500")
    tab.keyboard.press("Escape")
    assert tab.inner_text("#state") == "under the pointer"
    tab.screenshot(path=tmp_path / "explorer.png")
    assert said == [address], "no error, no warning, no request but the page itself"


def opened(browser, record, tmp_path: Path, width: int = 1200, height: int = 800):
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.goto(write_explorer(record, tmp_path).as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    tab.wait_for_function("!drawing")
    return tab


@pytest.mark.browser
def test_the_first_view_is_the_worst_drawdown_and_others_are_one_click_away(browser, tmp_path: Path):
    record = make_record(t=3000, every=0.05)
    equity = record.accounts["hybrid"].equity
    tab = opened(browser, record, tmp_path)
    below = equity / np.maximum.accumulate(equity) - 1.0
    bottom = int(below.argmin())
    top = int(equity[: bottom + 1].argmax())
    chosen = tab.inner_text("#story button[aria-pressed=true]").replace("\u2212", "-")
    days = np.datetime_as_string(record.bars.stamps, "D")
    assert chosen == f"worst drawdown {below[bottom]:.1%}, {days[top]} to {days[bottom]}".replace("%", "\u00a0%")
    assert tab.evaluate("view.bar") == bottom and tab.evaluate("view.first") <= top
    fills = record.accounts["hybrid"].fills
    shares = fills.notional / equity[fills.bar]
    tab.click("#story >> text=largest order")
    assert tab.evaluate("[view.bar, view.symbol]") == [
        int(fills.decided[shares.argmax()]),
        int(fills.symbol[shares.argmax()]),
    ]
    tab.click("#story >> text=everything")
    assert tab.evaluate("view.last - view.first") == 2999


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(360, 780), (500, 900), (1200, 800), (1280, 640), (2560, 1440)])
def test_marks_are_few_dates_are_in_view_and_legends_are_whole(browser, tmp_path: Path, width: int, height: int):
    tab = opened(browser, make_record(t=3000, every=0.9), tmp_path, width, height)
    tab.click("#story >> text=everything")
    tab.wait_for_function("!drawing")
    chart = tab.locator("#chart").bounding_box()
    assert tab.evaluate("Math.max(...[0, 1, 2].map((i) => marked(i).length))") <= 2 * (width / 20 + 1)
    assert tab.evaluate("Math.max(...[0, 1, 2].map((i) => inView(i).length))") > 1000
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for mark in [*tab.locator("#chart .annotation-text").all(), *tab.locator("#chart .xtick text").all()]:
        box = mark.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= chart["x"] + chart["width"], mark.text_content()
    ticks = tab.locator("#chart .xtick text").all()
    assert width < 900 or chart["height"] > height - 200, "it fills the screen"
    assert len(ticks) >= 3 and all(tick.bounding_box()["y"] + 10 < height for tick in ticks)
    for axis in ("y", "y2", "y3", "y4", "y5", "y6"):
        heights = sorted(text.bounding_box()["y"] for text in tab.locator(f"#chart .{axis}tick text").all())
        assert all(np.diff(heights) > 8.0), "no two on one another"
        assert all(len(text) <= 5 for text in tab.locator(f"#chart .{axis}tick text").all_text_contents()), (
            "round ticks"
        )


@pytest.mark.browser
def test_the_chart_is_walked_and_zoomed_by_keys_and_says_where_it_is(browser, tmp_path: Path):
    tab = opened(browser, make_record(t=3000, every=0.05), tmp_path)
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "chart":
            break
    assert tab.evaluate("document.activeElement.id") == "chart", "reached by Tab"
    chart = tab.locator("#chart")
    before = int(chart.get_attribute("aria-valuenow"))
    tab.keyboard.press("ArrowRight")
    assert int(chart.get_attribute("aria-valuenow")) == before + 1 == tab.evaluate("view.bar")
    assert chart.get_attribute("role") == "slider" and chart.get_attribute("aria-valuemax") == "2999"
    assert chart.get_attribute("aria-valuetext").startswith(tab.inner_text("#when") + ". order")
    wide = tab.evaluate("view.last - view.first")
    tab.keyboard.press("+")
    assert tab.locator("#story button[aria-pressed=true]").count() == 0
    assert tab.evaluate("view.last - view.first") < wide
    tab.keyboard.press("0")
    assert tab.evaluate("view.last - view.first") == 2999
    tab.keyboard.press("Home")
    assert tab.evaluate("view.bar") == 0
    names = tab.eval_on_selector_all("nav", "all => all.map((nav) => nav.getAttribute('aria-label'))")
    assert len(names) == 3 and all(names)


@pytest.mark.browser
def test_a_symbol_that_waits_and_a_pair_that_is_orphaned_are_told(browser, tmp_path: Path):
    record = make_record(every=0.0)
    waits = np.zeros(record.bars.close.shape, np.bool_)
    waits[40, 0] = True
    close = record.bars.close.copy()
    close[50, 1] = np.nan
    position = record.pairs.position.copy()
    position[48:50, 0], position[50, 0] = 1.0, 0.0
    bars = record.bars
    gap = Bars(bars.name, bars.symbols, bars.stamps, bars.open, bars.high, bars.low, close, bars.volume)
    decisions = dataclasses.replace(record.decisions, waits=waits)
    pairs = dataclasses.replace(record.pairs, position=position)
    told = dataclasses.replace(record, bars=gap, decisions=decisions, pairs=pairs)
    tab = browser.new_page(viewport={"width": 1200, "height": 1080})
    tab.goto(write_explorer(told, tmp_path).as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    tab.evaluate("explain(0, 40)")
    assert "KO waits: the other side of an open pair has no bar here" in tab.inner_text("#why")
    tab.evaluate("explain(0, 50)")
    assert "PEP had no bar for long: an orphan: closes." in tab.inner_text("#why")


@pytest.mark.browser
def test_rules_of_the_guard_are_told_where_they_bound_and_only_there(browser, tmp_path: Path):
    record = make_record(every=0.0)
    assert "guardRules" not in part(page(record), "facts")
    target, guard = record.decisions.target.copy(), np.zeros(len(record.decisions.target))
    wanted = target.copy()
    wanted[40, 0], target[40, 0], guard[40] = 0.8, 0.5, rules_mask("asset_limit", "drawdown")
    target[41], guard[41] = np.nan, rules_mask("policy_failure")
    limits = load_config().guard._asdict() | {"asset_limit": 0.5, "drawdown_limit": 0.1}
    decisions = dataclasses.replace(record.decisions, target=target, wanted=wanted, guard=guard)
    told = dataclasses.replace(record, decisions=decisions, config=record.config | {"guard": limits})
    tab = browser.new_page(viewport={"width": 1200, "height": 1080})
    tab.goto(write_explorer(told, tmp_path).as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    tab.evaluate("explain(0, 40)")
    words = tab.inner_text("#why")
    assert "drawdown brake past 10.0\u00a0%: targets × 0.5; no asset past 0.5 of equity." in words
    assert "goes from +0.800 to +0.500" in words
    tab.evaluate("explain(0, 41)")
    assert "a policy or a leg failed: what is held stays" in tab.inner_text("#why")
    tab.evaluate("explain(0, 42)")
    assert "guard" not in tab.inner_text("#why").lower()


class Desk:
    """Documents that advise on every bar."""

    def stage(self, stamps: Stamps, row: int) -> Desk:
        return self

    def advise(self, moment: datetime) -> Advice:
        risk = [1.0 + (moment.toordinal() + 3 * i) % 5 for i in range(6)]
        return Advice(risk, [0.0] * 6, -0.9 if moment.day % 2 else 0.9, 0.8, moment.day == 3)

    def facts(self) -> dict[str, object]:
        return {}

    def notes(self) -> list[str]:
        return []

    def trial(self, config: object) -> dict[str, object]:
        return {}


def with_gaps(bars: Bars) -> Bars:
    gone = np.random.default_rng(1).random(bars.close.shape) < 0.03
    gone[0] = gone[-1] = False
    prices = [np.where(gone, np.nan, one) for one in (bars.open, bars.high, bars.low, bars.close)]
    return Bars(bars.name, bars.symbols, bars.stamps, *prices, np.where(gone, 0.0, bars.volume))


SAID = """() => Array.from({ length: N }, (_, i) => Array.from({ length: T }, (_, t) =>
    [mixWords(i, t), limitWords(i, t), regimeWords(t)].map((text) => text.replace(/<[^>]*>/g, ""))))"""
TARGET = re.compile(r"Target (\S+?)(, the mix as it is| in place of \S+?)(?:, held there by (.*))?\.")
RUNS = {
    "plain": {},
    "aggressive": {"mode": "aggressive"},
    "pairs alone": {"config": {"sac": {"enabled": False}}},
    "base alone, no gate": {"config": {"kalman": {"enabled": False}, "gate": {"enabled": False}}},
    "guard": {"config": {"guard": {"asset_limit": 0.12, "drawdown_limit": 0.05}}},
    "guard that never acts": {"config": {"guard": {"daily_loss_limit": 0.9}}},
    "documents": {"mode": "aggressive", "news": Desk()},
    "through Backtrader": {"engine": "backtrader"},
}


@pytest.mark.browser
@pytest.mark.parametrize("name", RUNS)
def test_numbers_on_the_screen_multiply_and_add_up_to_the_target(browser, tmp_path: Path, name: str):
    """Of every bar and symbol; a factor that is in the weights already is not said once more."""
    market = as_market("tech6", None)
    run = run_backtest(Market("gaps", with_gaps(market.bars), market.pairs), **({"engine": "replay"} | RUNS[name]))
    tab = opened(browser, run, tmp_path)
    wanted, words = run.decisions, run.limits.words()
    before = wanted.managed.proposed if wanted.managed else wanted.wanted
    by = run.limits.holding()
    assert np.allclose(run.limits.proposed(run.limits.risk)[0], before, rtol=1e-12, atol=0.0)
    for i, of_symbol in enumerate(tab.evaluate(SAID)):
        for t, (mix, limits, regime) in enumerate(of_symbol):
            mix, limits = mix.replace("\u2212", "-"), limits.replace("\u2212", "-")
            terms, mixed = mix.rstrip(".").split(" = ")
            pairs = [[float(x) for x in term.split(" × ")] for term in terms.split(" + ")]
            room = 0.00051 + 0.00005 * sum(w + abs(a) for w, a in pairs)
            assert abs(sum(w * a for w, a in pairs) - float(mixed)) <= room, mix
            assert [f"{w:.4f}" for w, _ in pairs] == re.findall(r"weighs (\d+\.\d{4})", regime)
            said = re.fullmatch(
                r"Target (\S+)(, the mix as it is| in place of \S+?)(?:, held there by (.*))?\.", limits
            )
            assert said, limits
            target, instead, held = said.groups()
            assert abs(float(target) - before[t, i]) <= 0.000501
            assert instead == (", the mix as it is" if target == mixed else f" in place of {mixed}")
            assert (held or "") == listed(words, int(by[t, i]))
    assert "the scale of the base" in regime or name == "pairs alone"


def rules_mask(*names: str) -> int:
    return sum(1 << RULES.index(name) for name in names)


@pytest.mark.browser
def test_twenty_symbols_and_thirteen_years_open_in_a_second(browser, tmp_path: Path):
    path = write_explorer(widened(make_record(t=3272, every=0.1), 20), tmp_path)
    tab = browser.new_page(viewport={"width": 1200, "height": 1080})
    # CPU time: other work on the machine does not count
    console = tab.context.new_cdp_session(tab)
    console.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(path.as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    used = {metric["name"]: metric["value"] for metric in console.send("Performance.getMetrics")["metrics"]}
    assert 0.05 < used["TaskDuration"] < 1.0


def widened(record, n: int):
    """The first symbol n times, nothing traded."""
    bars, wanted, hybrid = record.bars, record.decisions, record.accounts["hybrid"]
    symbols = tuple(f"S{i:03d}" for i in range(n))
    wide = [np.tile(a[:, :1], (1, n)) for a in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
    tile = {leg: np.tile(target[:, :1], (1, n)) for leg, target in wanted.legs.items()}
    said = dataclasses.replace(record.limits.opinions, volatility=np.full((bars.n_bars, n), 0.01))
    return dataclasses.replace(
        record,
        bars=Bars(bars.name, symbols, bars.stamps, *wide),
        decisions=dataclasses.replace(wanted, legs=tile, fused=tile["sac"], target=tile["sac"], wanted=tile["sac"]),
        limits=record.limits._replace(opinions=said),
        accounts=record.accounts | {"hybrid": dataclasses.replace(hybrid, held=np.tile(hybrid.size[:, :1], (1, n)))},
        pairs=dataclasses.replace(record.pairs, names=("S000:S001",)),
    )


def traded_on(record, stamps: np.ndarray):
    bars = record.bars
    return dataclasses.replace(
        record,
        bars=Bars(bars.name, bars.symbols, stamps, bars.open, bars.high, bars.low, bars.close, bars.volume),
    )


@pytest.mark.browser
def test_many_symbols_leave_the_screen_to_the_chart_and_few_stops_before_it(browser, tmp_path: Path):
    tab = opened(browser, widened(make_record(), 200), tmp_path, 360, 780)
    assert tab.locator("#chart").bounding_box()["y"] < 400
    for _ in range(8):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "chart":
            break
    assert tab.evaluate("document.activeElement.id") == "chart"
    bar = tab.evaluate("view.bar")
    tab.focus("#many")
    tab.keyboard.type("S123")
    tab.wait_for_function("!drawing")
    assert tab.evaluate("[facts.symbols[view.symbol], view.bar]") == ["S123", bar], "keys of the list are its own"
    assert tab.inner_text("#when").startswith("S123")
    assert tab.get_by_role("combobox", name="Symbol").count() == 1


@pytest.mark.browser
def test_a_run_without_pairs_has_no_pane_for_them(browser, tmp_path: Path):
    tab = opened(browser, make_record(pairs=()), tmp_path)
    panes = tab.evaluate("[1, 2, 3, 4, 5, 6].map((k) => !!document.querySelector(`#chart .y${k > 1 ? k : ''}tick`))")
    assert panes == [True, True, True, False, True, False]
    assert not tab.is_visible("#pairs") and "no pair" not in tab.locator("#chart").text_content()


@pytest.mark.browser
def test_where_nothing_was_traded_no_pair_is_best_and_equity_has_ticks_near_it(browser, tmp_path: Path):
    record = make_record(every=0.0)
    still = {
        name: dataclasses.replace(path, equity=np.full(path.equity.shape, 20.0))
        for name, path in record.accounts.items()
    }
    bars, rise = record.bars, 50.0 * 1.01 ** np.arange(record.bars.n_bars)[:, None] * np.ones(3)
    up = Bars(bars.name, bars.symbols, bars.stamps, rise, rise, rise, rise, bars.volume)
    wanted = dataclasses.replace(record.pairs, position=record.pairs.position * 0.0 + 1.0, beta=0.5 + 0.0 * rise[:, :1])
    tab = opened(browser, dataclasses.replace(record, bars=up, pairs=wanted, accounts=still), tmp_path)
    assert tab.locator("#story button").all_inner_texts() == ["everything"]
    ticks = [float(text) for text in tab.locator("#chart .y5tick text").all_text_contents()]
    assert len(ticks) >= 3 and all(98.0 < tick < 102.0 for tick in ticks)


@pytest.mark.browser
def test_a_bar_that_keys_lead_to_is_in_view_and_the_browser_s_own_keys_are_left_to_it(browser, tmp_path: Path):
    tab = opened(browser, make_record(t=3000, every=0.002), tmp_path)
    tab.evaluate("zoom(1000, 1100)")
    tab.evaluate("point(1100, true)")
    for keys in ["ArrowRight", *["Shift+ArrowRight"] * 3, *["Shift+ArrowLeft"] * 6]:
        tab.keyboard.press(keys)
        tab.wait_for_function("!drawing")
        assert tab.evaluate("view.first <= view.bar && view.bar <= view.last"), keys
        assert tab.evaluate("view.last - view.first") == 100
    assert tab.evaluate("view.bar") != 1100
    event = "new KeyboardEvent('keydown', { key: 'ArrowLeft', cancelable: true, ...more })"
    press = f"(more) => document.dispatchEvent({event})"
    for mine, modifier in (
        (True, {}),
        (False, {"altKey": True}),
        (False, {"ctrlKey": True}),
        (False, {"metaKey": True}),
    ):
        before = tab.evaluate("view.bar")
        assert tab.evaluate(press, modifier) is not mine
        assert (tab.evaluate("view.bar") != before) == mine
    tab.focus("#chart")
    tab.keyboard.press("Enter")
    assert not tab.evaluate("view.kept")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#state").startswith("kept")


@pytest.mark.browser
@pytest.mark.parametrize(("minutes", "is_closed"), [(5, True), (60, True), (5, False), (240, False)])
def test_hours_and_days_without_bars_take_no_room(browser, tmp_path: Path, minutes: int, is_closed: bool):
    record = make_record(t=1200, minutes=minutes)
    if is_closed:
        days = np.arange("2020-01-06", "2021-06-01", dtype="datetime64[D]")
        open_days = days[np.is_busday(days)][:, None].astype("M8[ns]")
        in_day = np.timedelta64(570, "m") + np.arange(0, 390, minutes) * np.timedelta64(minutes, "m") // minutes
        record = traded_on(record, (open_days + in_day).ravel()[:1200])
    tab = opened(browser, record, tmp_path)
    tab.click("#story >> text=everything")
    tab.wait_for_function("!drawing")
    places = tab.evaluate("dates.map((date) => chart._fullLayout.xaxis.d2p(date))")
    assert np.diff(places).max() < 8.0 and np.diff(places).min() > 0.0
    box = tab.locator("#chart").bounding_box()
    tab.mouse.click(box["x"] + 500, box["y"] + 100)
    offset = tab.evaluate("chart._fullLayout.xaxis._offset")
    assert abs(places[tab.evaluate("view.bar")] + offset - 500) < 4.0


@pytest.mark.browser
def test_legends_are_written_in_ink(browser, tmp_path: Path):
    tab = opened(browser, make_record(), tmp_path)
    marks = tab.locator("#chart .annotation-text tspan").all_text_contents()
    assert {mark for mark in marks if mark.strip()} == {"▲", "▼", "▬"}, "colours are for the marks"


@pytest.mark.browser
def test_paper_shows_what_is_chosen_and_every_word_of_it(browser, tmp_path: Path):
    tab = opened(browser, make_record(), tmp_path)
    tab.emulate_media(media="print")
    style = "(at) => getComputedStyle(document.querySelector(at))"
    assert tab.evaluate(f"({style})('button[aria-pressed=true]').printColorAdjust") == "exact"
    assert tab.evaluate(f"({style})('aside').maxHeight") == "none" and not tab.is_visible("#keys")


def a_tearsheet(folder: Path) -> Path:
    with Beside() as beside:
        return Tearsheet(make_record(2 * T), folder, "claim: a long sentence, of which no word is cut", beside).finish()


def our_page_alone(folder: Path) -> Path:
    with Beside() as beside, pytest.warns(UserWarning, match="ours alone"):
        beside.outcome = lambda: ("quantstats is not here", "", {})  # type: ignore[method-assign]
        return Tearsheet(make_record(), folder, "claim: none", beside).finish()


def a_live_page(folder: Path) -> Path:
    desk = TradeDesk(folder, small())
    desk.walk("2020-02-28")
    return write_page(read_standing(folder / "s"), "an account", folder)


@pytest.mark.browser
@pytest.mark.parametrize(
    "made", [lambda folder: write_explorer(make_record(), folder), a_tearsheet, our_page_alone, a_live_page]
)
def test_pages_fit_a_telephone_and_ask_nobody_for_anything(browser, tmp_path: Path, made):
    context = browser.new_context(viewport={"width": 360, "height": 780}, is_mobile=True)
    tab, asked = context.new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    address = made(tmp_path).as_uri()
    tab.goto(address)
    assert tab.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    for text in tab.locator("svg[role=img] text, p, li, .first > div:first-of-type td").all():
        box = text.bounding_box()
        assert box is None or box["x"] + box["width"] <= 361.0, text.text_content()
    sizes = tab.eval_on_selector_all(
        "svg[role=img] text", "all => all.map((one) => one.getBoundingClientRect().height)"
    )
    assert all(size > 9.0 for size in sizes)
    assert [url for url in asked if not url.startswith("data:")] == [address]


HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> {{plotly}} & "more"'


def managed_record():
    """KO of bar 40 at m = 0.5 for a hostile reason; a veto on bar 41 that changes nothing."""
    record = make_record(every=0.0)
    target, shape = record.decisions.target.copy(), record.decisions.target.shape
    proposed, multiplier, risk = target.copy(), np.ones(shape), np.full(shape, 3.0)
    proposed[40, 0], target[40, 0], multiplier[40, 0], risk[40, 0] = 0.4, 0.2, 0.5, 4.25
    regime, confidence, veto = record.decisions.regime.copy(), np.zeros(shape[0]), np.zeros(shape[0], np.bool_)
    regime[40], confidence[40], veto[41] = 0.125, 0.5, True
    texts = [[""] * (shape[0] * shape[1]) for _ in range(2)]
    texts[0][40 * shape[1]], texts[1][40 * shape[1]] = HOSTILE, "id-<b>7</b>"
    read = np.full(shape[0], -1.0)
    managed = ManagedPaths(
        proposed, multiplier, regime, risk, np.zeros(shape), read, confidence, veto, *map(tuple, texts)
    )
    decisions = dataclasses.replace(record.decisions, target=target, wanted=target, managed=managed)
    return dataclasses.replace(record, decisions=decisions)


def test_the_risk_manager_is_in_the_page_where_it_was_asked_and_only_there():
    plain, text = page(make_record(every=0.0)), page(managed_record())
    assert "managed" not in plain and "{{" not in plain.split("<script>/**")[0]
    assert part(text, "facts")["managed"] == ["", HOSTILE, "id-<b>7</b>"]
    assert "<script>alert" not in text and text.count("* plotly.js") == 1
    assert unpacked(text, "managed:cell").tolist() == [40 * len(make_record().bars.symbols)]
    assert unpacked(text, "managed:bar").tolist() == [40, 41]


@pytest.mark.browser
def test_the_risk_manager_s_hostile_reason_is_shown_as_text(browser, tmp_path: Path):
    record = managed_record()
    tab = browser.new_page(viewport={"width": 1200, "height": 1080})
    said: list[str] = []
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    tab.goto(write_explorer(record, tmp_path).as_uri())
    tab.wait_for_selector("body[data-ready=yes]")
    tab.evaluate("explain(0, 40)")
    words = tab.inner_text("#why").replace("\u2212", "-")
    assert HOSTILE in words and "id-<b>7</b>" in words
    assert "m = 0.50: +0.400 proposed, +0.200 left" in words and "Risk 4.3 of 5" in words
    assert f"r = {record.decisions.regime[40]:+.3f} becomes r' = +0.125" in words
    assert "Target +0.400" in words, "the limits' target is the one before the risk manager"
    assert tab.locator("#why script, #why img").count() == 0
    tab.evaluate("explain(0, 41)")
    assert "No new risk on this bar. KO is left alone." in tab.inner_text("#why")
    tab.evaluate("explain(0, 42)")
    assert "risk manager" not in tab.inner_text("#why")
    assert said == []
