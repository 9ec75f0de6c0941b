// ---- drawing -----------------------------------------------------------------------------------------------------
const C = { ...facts.colors, ink: "#222222", grey: "#767676", pale: "#949494" };
const MARK_PIXELS = 20; // of the chart for a mark: more hide the price
const MANY = 40; // symbols: more buttons hide the chart, and are as many stops of the Tab key
const DRAWN = 900; // stretches across the chart; each gives its lowest and its highest value
const dates = Array.from(arrays.stamp, (ms) => new Date(ms).toISOString());
const view = { symbol: 0, pair: 0, first: 0, last: T - 1, bar: T - 1, kept: false };

function column(name, width, i) {
  const source = arrays[name], out = new Array(T);
  for (let t = 0; t < T; t++) out[t] = source[t * width + i];
  return out;
}

function thinned(values, first, last) {
  const count = last - first + 1, rows = [];
  if (count <= 2 * DRAWN) for (let t = first; t <= last; t++) rows.push(t);
  else for (let s = 0; s < DRAWN; s++) {
    const a = first + Math.floor(s * count / DRAWN), b = first + Math.floor((s + 1) * count / DRAWN);
    let low = -1, high = -1;
    for (let t = a; t < b; t++) if (Number.isFinite(values[t])) { if (low < 0 || values[t] < values[low]) low = t; if (high < 0 || values[t] > values[high]) high = t; }
    if (low < 0) rows.push(a); else if (low === high) rows.push(low); else rows.push(Math.min(low, high), Math.max(low, high));
  }
  return { x: rows.map((t) => dates[t]), y: rows.map((t) => (Number.isFinite(values[t]) ? values[t] : null)) };
}

function curve(values, axis, name, color, more = {}) {
  const { first, last } = view, { line, ...rest } = more;
  return { type: "scatter", mode: "lines", name, ...thinned(values, first, last), yaxis: axis, hoverinfo: "skip", connectgaps: false, line: { color, width: 1.2, ...line }, ...rest };
}

const share = (f) => Math.abs(arrays.size[f]) * arrays.price[f] / arrays["equity:hybrid"][arrays.bar[f]];
const width = () => chart.clientWidth || 800;
const isNarrow = () => width() < 640;

function inView(i) { return fillsOf[i].filter((f) => arrays.bar[f] >= view.first && arrays.bar[f] <= view.last); }
function marked(i) { // the largest of each stretch of the chart, so that they neither hide the price nor one another
  const best = new Map(), wide = (view.last - view.first + 1) * MARK_PIXELS / width();
  for (const f of inView(i)) {
    const place = (arrays.size[f] > 0 ? 1 : -1) * (1 + Math.floor((arrays.bar[f] - view.first) / Math.max(wide, 1)));
    if (!best.has(place) || share(f) > share(best.get(place))) best.set(place, f);
  }
  return [...best.values()];
}

function fillMarks(i, buys) {
  const rows = marked(i).filter((f) => (arrays.size[f] > 0) === buys);
  return { type: "scatter", mode: "markers", name: buys ? "buy" : "sell", x: rows.map((f) => dates[arrays.bar[f]]), y: rows.map((f) => arrays.price[f]), yaxis: "y", hoverinfo: "skip",
    marker: { symbol: buys ? "triangle-up" : "triangle-down", size: isNarrow() ? 6 : 8, color: buys ? C.long : C.short, opacity: 0.9 } };
}

function traces() {
  const i = view.symbol, p = view.pair, out = [];
  out.push(curve(column("close", N, i), "y", "close", C.ink), fillMarks(i, true), fillMarks(i, false));
  facts.legs.forEach((leg) => out.push(curve(column("leg:" + leg, N, i), "y2", legName(leg), C[leg])));
  out.push(curve(column("fused", N, i), "y2", "mix", C.pale, { line: { width: 1.4 } }), curve(column("target", N, i), "y2", "target", C.hybrid, { line: { width: 1.8 } }));
  out.push(curve(arrays.regime, "y3", "r", C.ink), curve(arrays["weight:sac"] || new Float32Array(T), "y3", "w SAC", C.sac));
  if (P && p >= 0) {
    const z = column("z", P, p), beta = column("beta", P, p), sd = column("betaSd", P, p);
    out.push(curve(z, "y4", "z", C.ink));
    out.push(curve(beta.map((b, t) => b + 1.96 * sd[t]), "y6", "", C.kalman, { line: { width: 0 }, showlegend: false }));
    out.push(curve(beta.map((b, t) => b - 1.96 * sd[t]), "y6", "95 %", C.kalman, { line: { width: 0 }, fill: "tonexty", fillcolor: C.kalman + "38" }));
    out.push(curve(beta, "y6", "beta", C.kalman, { line: { width: 1.4 } }));
  }
  facts.accounts.filter((account) => account.shown).reverse().forEach((account) => {
    const equity = arrays["equity:" + account.name], start = equity[0];
    out.push(curve(Array.from(equity, (e) => (e > 0 ? 100 * e / start : NaN)), "y5", account.name, account.color, { line: { width: account.name === "hybrid" ? 2 : 1.2, dash: account.name === "hybrid" ? "solid" : "dash" } }));
  });
  return out;
}

const ROUND = [1, 2, 5].flatMap((m) => [1, 10, 100, 1000, 10000, 100000].map((p) => m * p)).sort((a, b) => a - b);
function equityTicks() { // round numbers: plotly's own are too many on a logarithmic axis, and of what does not move a decade on either side
  let low = Infinity, high = 0;
  facts.accounts.filter((account) => account.shown).forEach((account) => {
    const equity = arrays["equity:" + account.name];
    for (let t = view.first; t <= view.last; t++) if (equity[t] > 0) { low = Math.min(low, 100 * equity[t] / equity[0]); high = Math.max(high, 100 * equity[t] / equity[0]); }
  });
  if (!(high > 0)) return {};
  const flat = high < 1.001 * low, [from, to] = flat ? [0.99 * low, 1.01 * high] : [low, high], wide = (to - from) / 4, unit = 10 ** Math.floor(Math.log10(wide));
  const step = unit * [1, 2, 5, 10].find((m) => m * unit >= wide), steps = [];
  for (let k = Math.ceil(from / step); k * step <= to; k++) steps.push(Number((k * step).toPrecision(9)));
  const tickvals = to > 2.5 * from ? ROUND : steps;
  return { tickvals, ticktext: tickvals.map((v) => v.toLocaleString("en-US")), ...(flat ? { range: [from, to].map(Math.log10) } : {}) };
}

const PANES = P ? [[0.735, 1], [0.545, 0.7], [0.385, 0.51], [0.2, 0.35], [0, 0.165]] : [[0.68, 1], [0.45, 0.64], [0.24, 0.41], [0, 0.2], [0, 0.2]];
function closed() { // hours and days of a market on which no bar is: they would be most of the chart
  const minutes = [...new Set(Array.from(arrays.stamp, (ms) => (ms % 86400000) / 60000))].sort((a, b) => a - b), breaks = [];
  if (daily) return breaks;
  const gaps = minutes.map((m, k) => (minutes[k + 1] === undefined ? minutes[0] + 1440 : minutes[k + 1]) - m), k = gaps.indexOf(Math.max(...gaps));
  if (minutes.length > 2 && gaps[k] > 120 && gaps[k] > 2 * Math.min(...gaps)) breaks.push({ pattern: "hour", bounds: [minutes[k] / 60 + 0.02, minutes[(k + 1) % minutes.length] / 60] });
  if (!arrays.stamp.some((ms) => [0, 6].includes(new Date(ms).getUTCDay()))) breaks.push({ pattern: "day of week", bounds: ["sat", "mon"] });
  return breaks;
}
const BREAKS = closed();
function layout() {
  const narrow = isNarrow(), marks = marked(view.symbol).length, fills = inView(view.symbol).length;
  const axis = (pane, more = {}) => ({ domain: PANES[pane], nticks: 5, gridcolor: "#eee", zerolinecolor: "#ccc", tickfont: { color: C.grey, size: 11 }, fixedrange: true, automargin: false, ...more });
  const symbol = facts.symbols[view.symbol], pairName = P && view.pair >= 0 ? facts.pairs[view.pair].name : "";
  const few = marks < fills ? `, the ${marks} largest of ${fills} in view` : "";
  const titles = narrow ? [`${symbol}: close${marks < fills ? `, ${marks} of ${fills} fills` : ""}`, `${symbol}: of equity`, "regime", pairName || `no pair holds ${symbol}`, "equity"] :
    [`${symbol}: close, fills at the open after the decision${few}`, `${symbol}: what the legs want, the mix, the target (fraction of equity)`, "regime r and the weight of SAC",
      pairName ? `${pairName}: z (left) and hedge ratio beta with its 95 % band (right)` : `no pair holds ${symbol}`, "equity, start = 100, logarithmic"];
  const level = (y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y4", y0: y, y1: y, line: { color: C.grey, width: 0.8, dash: "dot" } });
  const shapes = pairName ? [level(facts.entryZ), level(-facts.entryZ), level(facts.exitZ), level(-facts.exitZ)] : [];
  facts.inSample.forEach(([a, b]) => shapes.push({ type: "rect", xref: "x", x0: dates[a], x1: dates[b], yref: "paper", y0: 0, y1: 1, fillcolor: "#F3E9E4", line: { width: 0 }, layer: "below" }));
  shapes.push({ type: "line", xref: "x", x0: dates[view.bar], x1: dates[view.bar], yref: "paper", y0: 0, y1: 1, line: { color: view.kept ? C.hybrid : C.grey, width: 1 } });
  return {
    margin: { l: narrow ? 40 : 52, r: narrow ? 40 : 52, t: 24, b: 30 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff", font: { color: C.ink, size: 12 }, dragmode: "zoom", hovermode: false,
    legend: { orientation: "h", x: 1, xanchor: "right", y: 1.0, yanchor: "bottom", font: { size: 11 } }, showlegend: false,
    xaxis: { anchor: "y5", range: [dates[view.first], dates[view.last]], nticks: Math.max(5, Math.floor(width() / 90)), gridcolor: "#eee", tickfont: { color: C.grey, size: 11 }, type: "date", rangebreaks: BREAKS },
    yaxis: axis(0), yaxis2: axis(1), yaxis3: axis(2, { range: [-1.05, 1.05] }), yaxis4: axis(3, { visible: P > 0 }), yaxis5: axis(4, { type: "log", ...equityTicks() }),
    yaxis6: axis(3, { overlaying: "y4", side: "right", tickmode: "auto", showgrid: false, zeroline: false }),
    annotations: titles.map((text, row) => ({ visible: P > 0 || row !== 3, text: escaped(text) + " " + keys(row), xref: "paper", yref: "paper", x: 0, y: PANES[row][1], xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: narrow ? 11 : 12, color: C.ink } })),
    shapes,
  };
}

function keys(row) { // the legend of a pane stands in its title
  const key = (color, text, mark = "▬") => `${isNarrow() ? "" : " "} <span style="color:${color}">${mark}</span> ${escaped(text)}`;
  if (row === 0) return key(C.long, "buy", "▲") + key(C.short, "sell", "▼");
  if (row === 1) return facts.legs.map((leg) => key(C[leg], legName(leg))).join("") + key(C.pale, "mix") + key(C.hybrid, "target");
  if (row === 2) return key(C.ink, "r") + key(C.sac, "w SAC");
  if (row === 3) return P && view.pair >= 0 ? key(C.ink, "z") + key(C.kalman, "beta") : "";
  return facts.accounts.filter((a) => a.shown).map((a) => key(a.color, a.name)).join("");
}

const chart = el("chart"), hovers = matchMedia("(hover: hover)").matches;
let drawing = false, pointed = false;
async function draw() {
  drawing = true;
  chart.style.height = `${Math.max(420, innerHeight - chart.getBoundingClientRect().top - scrollY - 6)}px`; // dates in view
  await Plotly.react(chart, traces(), layout(), { displayModeBar: false, responsive: true, doubleClick: false, showTips: false });
  drawing = false;
}

function point(t, keep = view.kept) {
  view.bar = Math.max(0, Math.min(T - 1, t));
  const off = view.bar < view.first ? view.bar - view.first : Math.max(0, view.bar - view.last);
  if (off) { // a bar out of view takes the view along
    const half = (view.last - view.first) >> 1, first = Math.max(0, Math.min(T - 1 - 2 * half, view.bar - half));
    view.kept = keep;
    return zoom(first, first + 2 * half);
  }
  view.kept = keep;
  el("state").textContent = keep ? (hovers ? "kept; Esc lets go" : "kept") : pointed ? "under the pointer" : t === T - 1 ? "last bar" : "";
  explain(view.symbol, view.bar);
  chart.setAttribute("aria-valuemax", T - 1);
  chart.setAttribute("aria-valuenow", view.bar);
  chart.setAttribute("aria-valuetext", `${el("when").textContent}. ${el("why").lastElementChild.previousElementSibling.textContent}`);
  const line = Array.from(chart.querySelectorAll(".shapelayer path")).pop();
  const axis = chart._fullLayout && chart._fullLayout.xaxis;
  if (line && axis) { // moving one path is a hundred times quicker than a relayout
    const x = axis._offset + axis.d2p(dates[view.bar]), d = line.getAttribute("d").match(/[-\d.]+/g);
    line.setAttribute("d", `M${x},${d[1]}L${x},${d[3]}`);
    line.style.stroke = keep ? C.hybrid : C.grey;
  }
}

function barAt(event) {
  const axis = chart._fullLayout.xaxis, x = event.clientX - chart.getBoundingClientRect().left - axis._offset;
  if (x < 0 || x > axis._length) return -1;
  const ms = axis.p2c(x);
  let low = 0, high = T - 1;
  while (low < high) { const mid = (low + high) >> 1; if (arrays.stamp[mid] < ms) low = mid + 1; else high = mid; }
  return low > 0 && ms - arrays.stamp[low - 1] < arrays.stamp[low] - ms ? low - 1 : low;
}

function zoom(first, last) { buttons("story", scenes.map((scene) => scene.text), -1, tell); view.first = Math.max(0, first); view.last = Math.min(T - 1, Math.max(last, first + 2)); draw().then(() => point(view.bar)); }

function choose(symbol) {
  view.symbol = symbol;
  const mine = facts.pairs.map((_, p) => p).filter((p) => facts.pairs[p].sides.includes(symbol));
  if (!mine.includes(view.pair)) view.pair = mine.length ? mine[0] : -1;
  if (N > MANY) el("many").value = symbol; else buttons("symbols", facts.symbols, symbol, choose);
  buttons("pairs", mine.map((p) => facts.pairs[p].name), mine.indexOf(view.pair), (m) => { view.pair = mine[m]; choose(symbol); });
  el("pairs").style.display = P ? "" : "none";
  el("pairs").style.visibility = mine.length ? "visible" : "hidden";
  draw().then(() => point(view.bar));
}

function buttons(id, names, chosen, act) {
  const bar = el(id);
  bar.querySelectorAll("button").forEach((b) => b.remove());
  names.forEach((name, n) => {
    const b = document.createElement("button");
    b.textContent = name; b.setAttribute("aria-pressed", String(n === chosen)); b.onclick = () => act(n);
    bar.appendChild(b);
  });
}

// ---- the story: where the account lost most, which pair earned most, the largest order ------------------------------
function deepest() { // of the hybrid: [top, bottom, recovered]
  const equity = arrays["equity:hybrid"];
  let top = 0, found = [0, 0, T - 1], worst = 0;
  for (let t = 0; t < T; t++) {
    if (equity[t] > equity[top]) top = t;
    if (equity[t] / equity[top] - 1 < worst) { worst = equity[t] / equity[top] - 1; found = [top, t]; }
  }
  let back = found[1];
  while (back < T - 1 && equity[back] < equity[found[0]]) back++;
  return { top: found[0], bottom: found[1], back, depth: worst };
}

function loser(first, last) { // symbol whose holdings lost most between two closes
  let most = 0, chosen = busiest;
  for (let i = 0; i < N; i++) {
    let gain = 0, before = NaN;
    for (let t = first; t <= last; t++) {
      const close = at("close", t, i);
      if (!Number.isFinite(close)) continue;
      if (Number.isFinite(before)) gain += at("held", t, i) * (close - before);
      before = close;
    }
    if (gain < most) { most = gain; chosen = i; }
  }
  return chosen;
}

function bestPair() { // of those whose symbols were traded, by what its spread, the log price of y less beta times that of x, moved its way while it was held
  let best = null;
  for (let p = 0; p < P; p++) {
    const [y, x] = facts.pairs[p].sides;
    if (!fillsOf[y].length || !fillsOf[x].length) continue;
    let sum = 0, since = -1, trade = 0, top = { gain: 0, first: 0, last: 0 };
    for (let t = 1; t < T; t++) {
      const side = ofPair("position", t - 1, p);
      if (side !== 0) {
        const moved = side * (Math.log(at("close", t, y) / at("close", t - 1, y)) - ofPair("beta", t - 1, p) * Math.log(at("close", t, x) / at("close", t - 1, x)));
        if (since < 0) { since = t - 1; trade = 0; }
        if (Number.isFinite(moved)) { sum += moved; trade += moved; }
      }
      if (since >= 0 && (ofPair("position", t, p) !== side || t === T - 1)) { if (trade > top.gain) top = { gain: trade, first: since, last: t }; since = -1; }
    }
    if (!best || sum > best.sum) best = { p, sum, ...top };
  }
  return best && best.sum > 0 ? best : null;
}

function look(symbol, pair, first, last, bar) {
  const room = Math.max(10, Math.round(0.3 * (last - first)));
  view.first = Math.max(0, first - room); view.last = Math.min(T - 1, last + room);
  view.pair = pair >= 0 ? pair : view.pair; view.bar = bar; view.kept = false; pointed = false;
  choose(symbol);
}

const scenes = [];
function story() {
  const down = deepest(), pair = bestPair(), largest = arrays.size.reduce((best, _, f) => (best < 0 || share(f) > share(best) ? f : best), -1);
  scenes.push({ text: "everything", act: () => { view.first = 0; view.last = T - 1; choose(view.symbol); } });
  if (down.depth <= -0.0005) scenes.push({ text: `worst drawdown ${pct(down.depth)}, ${moment(down.top)} to ${moment(down.bottom)}`, act: () => look(loser(down.top, down.bottom), -1, down.top, down.back, down.bottom) });
  if (pair) scenes.push({ text: `best pair ${facts.pairs[pair.p].name}, spread +${pct(pair.sum, pair.sum < 0.1 ? 1 : 0)} while held`, act: () => look(facts.pairs[pair.p].sides[0], pair.p, pair.first, pair.last, pair.first) });
  if (largest >= 0) scenes.push({ text: `largest order ${shares(arrays.size[largest])} ${facts.symbols[arrays.symbol[largest]]}, ${pct(share(largest), 0)} of equity`,
    act: () => look(arrays.symbol[largest], -1, Math.max(0, arrays.decided[largest] - 30), Math.min(T - 1, arrays.decided[largest] + 30), arrays.decided[largest]) });
}
function tell(n) { buttons("story", scenes.map((scene) => scene.text), n, tell); scenes[n].act(); }

function nextOrder(step) {
  for (let t = view.bar + step; t >= 0 && t < T; t += step) if (byDecision.has(t * N + view.symbol)) return t;
  return view.bar;
}

el("title").textContent = `Why each trade happened: ${facts.title}`;
el("subtitle").textContent = facts.subtitle;
el("sample").textContent = facts.stamp;
el("notes").textContent = facts.notes.join(" · ");
chart.addEventListener("mousemove", (event) => { if (!view.kept && !drawing) { const t = barAt(event); if (t >= 0) { pointed = true; point(t, false); } } });
chart.addEventListener("click", (event) => { const t = barAt(event); if (t >= 0) point(t, true); }, true);
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target === el("many")) return; // the browser's own
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { event.preventDefault(); point(event.shiftKey ? nextOrder(step) : view.bar + step, true); }
  if (event.key === "Escape") point(view.bar, false);
  const end = { Home: view.first, End: view.last }[event.key], factor = { "+": 0.5, "=": 0.5, "-": 2, "0": Infinity }[event.key];
  if (end !== undefined && document.activeElement === chart) { event.preventDefault(); point(end, true); }
  if (event.key === "Enter" && document.activeElement === chart) point(view.bar, !view.kept);
  if (factor) {
    const half = Math.round(factor * (view.last - view.first) / 2);
    if (half < T) zoom(view.bar - half, view.bar + half); else zoom(0, T - 1);
  }
});
if (N > MANY) {
  const list = document.createElement("select");
  list.id = "many"; list.setAttribute("aria-label", "Symbol"); list.onchange = () => choose(Number(list.value));
  list.append(...facts.symbols.map((name, i) => new Option(name, i)));
  el("symbols").append(list);
}
const busiest = fillsOf.reduce((best, fills, i) => (fills.length > fillsOf[best].length ? i : best), 0);
const asked = new URLSearchParams(location.hash.slice(1)); // explorer.html#symbol=KO&bar=2015-06-01
const wanted = facts.symbols.indexOf(asked.get("symbol"));
const when = asked.get("bar") ? arrays.stamp.findIndex((ms) => ms >= Date.parse(asked.get("bar") + (daily ? "" : "Z"))) : -1;
if (when >= 0) { view.bar = when; view.kept = true; }
view.symbol = wanted >= 0 ? wanted : busiest;
story();
tell(wanted >= 0 || when >= 0 || scenes.length < 2 ? 0 : 1);
addEventListener("resize", () => { draw().then(() => point(view.bar)); });
chart.on("plotly_relayout", (change) => {
  if (drawing || change["xaxis.range[0]"] === undefined) return;
  const row = (text) => { const ms = Date.parse(text.replace(" ", "T") + (text.length > 10 ? "Z" : "")); return arrays.stamp.findIndex((s) => s >= ms); };
  const last = row(change["xaxis.range[1]"]);
  zoom(Math.max(0, row(change["xaxis.range[0]"])), last < 0 ? T - 1 : last);
});
chart.on("plotly_doubleclick", () => zoom(0, T - 1));
document.body.dataset.ready = "yes";
