"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const KINDS = { "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "|u1": Uint8Array };
const arrays = {};
for (const [name, [kind, text]] of Object.entries(JSON.parse(document.getElementById("arrays").textContent))) {
  const packed = atob(text), bytes = new Uint8Array(packed.length);
  for (let b = 0; b < packed.length; b++) bytes[b] = packed.charCodeAt(b);
  arrays[name] = new KINDS[kind](bytes.buffer);
}
const N = facts.symbols.length, P = facts.pairs.length, T = arrays.stamp.length;
const cfg = facts.config, el = (id) => document.getElementById(id);
const daily = arrays.stamp.every((ms) => ms % 86400000 === 0);

// ---- words -------------------------------------------------------------------------------------------------------
const MINUS = "\u2212";
const fixed = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits).replace("-", MINUS);
const signed = (x, digits = 2) => { const text = fixed(x, digits); return Number(x.toFixed(digits)) > 0 ? "+" + text : text; };
const pct = (x, digits = 1) => fixed(100 * x, digits) + "\u00a0%";
const shares = (x) => (x > 0 ? "+" : MINUS) + Math.abs(x).toLocaleString("en-US", { maximumFractionDigits: 4 });
const moment = (t) => new Date(arrays.stamp[t]).toISOString().slice(0, daily ? 10 : 16).replace("T", " ");
const weekday = (t) => new Date(arrays.stamp[t]).toLocaleDateString("en-GB", { weekday: "short", timeZone: "UTC" });
const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const at = (name, t, i) => arrays[name][t * N + i];
const ofPair = (name, t, p) => (t < 0 ? NaN : arrays[name][t * P + p]);
const weight = (leg, t) => arrays["weight:" + leg] ? arrays["weight:" + leg][t] : 0;
const legName = (leg) => ({ sac: "SAC", kalman: "Kalman" })[leg] || leg;
const tone = (leg) => `<b class="${leg === "sac" ? "sac" : "kalman"}">${escaped(legName(leg))}</b>`;

const PARTS = 4; // digits of what is multiplied, one more than of what comes of it

function regimeWords(t) {
  const r = arrays.regime[t];
  const gate = cfg.gate && cfg.gate.enabled === false ? "The gate is off, so r = 0" :
    `r = ${signed(r)}, ${r > 0.33 ? "trend" : r < -0.33 ? "mean reversion" : "between trend and mean reversion"}`;
  return `${gate}: ` + facts.legs.map((leg) => `${tone(leg)} weighs ${fixed(weight(leg, t), PARTS)}${leg === facts.legs[0] && weight(leg, t) ? ", the scale of the base" : ""}`).join("; ") + ".";
}

function pairWords(p, t) {
  const { name } = facts.pairs[p], z = ofPair("z", t, p), now = ofPair("position", t, p), before = t > 0 ? ofPair("position", t - 1, p) : 0;
  const k = cfg.kalman || {}, label = `<b>${escaped(name)}</b>`;
  if (!Number.isFinite(z)) return `${label} has not begun.`;
  const [y, x] = facts.pairs[p].sides.map((i) => escaped(facts.symbols[i])), says = `${label} z = ${signed(z, 1)}`;
  const hedge = `long ${now > 0 ? y : x}, short ${now > 0 ? x : y}, hedge ratio ${fixed(ofPair("beta", t, p))}`;
  if (now !== 0 && now !== before) return `${says} is past entry ${fixed(facts.entryZ, 1)}: opens ${hedge}.`;
  if (now !== 0) return `${says}: stays ${hedge}.`;
  if (before !== 0) {
    const stretch = -before * z;
    const absent = facts.pairs[p].sides.filter((i) => !Number.isFinite(at("close", t, i))).map((i) => escaped(facts.symbols[i]));
    const rule = absent.length ? `${absent.join(" and ")} had no bar for long: an orphan` : stretch <= facts.exitZ ? `back past exit ${fixed(facts.exitZ, 1)}` : stretch >= k.stop_z ? `past the stop ${fixed(k.stop_z, 1)}` : `its time is up (${k.max_hold_bars} bars)`;
    return `${says}, ${rule}: closes.`;
  }
  return Math.abs(z) < facts.entryZ ? `${says} is inside entry ${fixed(facts.entryZ, 1)}: flat.` : `${says}: flat, and may not open (stopped before, past the stop, or hedge ratio out of range).`;
}

function legWords(i, t) {
  const symbol = escaped(facts.symbols[i]);
  const wants = facts.legs.map((leg) => `${tone(leg)} wants <b>${signed(at("leg:" + leg, t, i), PARTS)}</b> ${symbol}`).join("; ") + ".";
  const mine = facts.pairs.map((_, p) => p).filter((p) => facts.pairs[p].sides.includes(i));
  return [wants, ...(cfg.kalman?.enabled !== false ? mine.map((p) => pairWords(p, t)) : [])].join("<br>");
}

function mixWords(i, t) {
  const terms = facts.legs.map((leg) => `${fixed(weight(leg, t), PARTS)} × ${signed(at("leg:" + leg, t, i), PARTS)}`).join(" + ");
  return `${terms} = <b>${signed(at("fused", t, i), 3)}</b>.`;
}

const line = (head, text, more = "") => `<p class="${more}"><span class="head">${head}</span> ${text}</p>`;

function limitWords(i, t) { // the weights hold the scale of the base already: nothing is multiplied here
  const target = {{managed:proposed(i, t, }}at(arrays.wanted ? "wanted" : "target", t, i){{managed:)}}, [mixed, left] = [at("fused", t, i), target].map((x) => signed(x, 3));
  const by = facts.limits.filter((_, bit) => (at("limits", t, i) >> bit) & 1);
  return `Target <b class="hybrid">${left}</b>` + (mixed === left ? ", the mix as it is" : ` in place of ${mixed}`) + (by.length ? `, held there by ${by.join(" and ")}.` : ".");
}

function guardWords(i, t) {
  const mask = arrays.guard ? arrays.guard[t] : 0, guard = cfg.guard || {};
  if (!mask) return "";
  const words = {
    policy_failure: `a policy or a leg failed: ${guard.on_policy_failure === "flatten" ? "everything is closed" : "what is held stays"}`,
    kill_switch: "the kill switch file is there: everything is closed",
    daily_loss: `the day's loss passed ${pct(guard.daily_loss_limit)}: flat until the date changes`,
    drawdown: `drawdown brake past ${pct(guard.drawdown_limit)}: targets × ${guard.drawdown_scale}`,
    asset_limit: `no asset past ${guard.asset_limit} of equity`,
    pair_limit: `no pair past ${guard.pair_limit} of equity`,
    gross_limit: `positions together no more than ${guard.gross_limit} of equity`,
    net_limit: `net position no more than ${guard.net_limit} of equity`,
    max_order_notional: `no order opens more than ${Number(guard.max_order_notional).toLocaleString("en-US")}`,
  };
  const rules = facts.guardRules.filter((_, bit) => (mask >> bit) & 1).map((rule) => words[rule] || rule).join("; ");
  const before = at("wanted", t, i), after = at("target", t, i), same = before === after;
  return line("guard", `${rules}. ${escaped(facts.symbols[i])} ${same ? "is not touched by it" : `goes from ${signed(before, 3)} to <b class="hybrid">${signed(after, 3)}</b>`}.`);
}

const fillsOf = Array.from({ length: N }, () => []);
arrays.symbol.forEach((symbol, f) => fillsOf[symbol].push(f));
const byDecision = new Map();
arrays.decided.forEach((t, f) => byDecision.set(t * N + arrays.symbol[f], f));

function orderWords(i, t) {
  const symbol = escaped(facts.symbols[i]), f = byDecision.get(t * N + i), close = at("close", t, i), equity = arrays["equity:hybrid"][t];
  if (f !== undefined) return `Order <b class="hybrid">${shares(arrays.size[f])} ${symbol}</b> at the next open: filled ${moment(arrays.bar[f])} at ${fixed(arrays.price[f], 3)}, costs ${fixed(arrays.commission[f])}.`;
  if (!Number.isFinite(close)) return `${symbol} has no bar here: no order.`;
  if (arrays.waits && at("waits", t, i)) return `${symbol} waits: the other side of an open pair has no bar here, and both sides trade or neither. No order.`;
  const held = at("held", t, i), gap = at("target", t, i) - held * close / equity, band = (cfg.account || {}).rebalance_band || 0;
  const holds = held === 0 ? "Nothing is held" : `${shares(held)} ${symbol} are held (${signed(held * close / equity, 3)} of equity)`;
  if (held === 0 && at("target", t, i) === 0) return `Nothing is held and nothing wanted: no order.`;
  if (Math.abs(gap) < band) return `${holds}, ${pct(Math.abs(gap), 2)} of equity from the target, inside the band of ${pct(band, 1)}: no order.`;
  if (t === T - 1) {
    const lot = (cfg.account || {}).lot || 0, wanted = at("target", t, i) * equity / close;
    const order = (lot > 0 ? Math.trunc(wanted / lot) * lot : wanted) - held;
    return order === 0 ? `${holds}: no order.` : `${holds}. This is the last bar: an order of <b class="hybrid">${shares(order)} ${symbol}</b> is pending for the next open, as far as cash carries it.`;
  }
  return `${holds}; no fill came of this bar: less than one lot, or refused for want of cash.`;
}

{{managed:/* managed */
}}function explain(i, t) {
  el("when").textContent = `${facts.symbols[i]}, close of ${weekday(t)} ${moment(t)}`;
  el("why").innerHTML = line("regime", regimeWords(t){{managed: + regimeManaged(t)}}) + line("legs", legWords(i, t)) + line("mix", mixWords(i, t)) +
    line("limits", limitWords(i, t)) + {{managed:managedWords(i, t) + }}guardWords(i, t) + line("order", orderWords(i, t), "final") +
    line("account", `Equity ${Math.round(arrays["equity:hybrid"][t]).toLocaleString("en-US")}, ${pct(arrays["equity:hybrid"][t] / arrays["equity:hybrid"][0] - 1)} since the start.`);
}
