// ---- risk manager: what it read and took away, kept only where it did something ------------------------------------
const managedCell = new Map(), managedBar = new Map();
arrays["managed:cell"].forEach((cell, k) => managedCell.set(cell, k));
arrays["managed:bar"].forEach((t, k) => managedBar.set(t, k));
const proposed = (i, t, otherwise) => { const k = managedCell.get(t * N + i); return k === undefined ? otherwise : arrays["managed:proposed"][k]; };

function regimeManaged(t) {
  const k = managedBar.get(t);
  if (k === undefined || arrays["managed:confidence"][k] === 0) return "";
  return `<br>Documents say ${signed(arrays["managed:read"][k])} with confidence ${fixed(arrays["managed:confidence"][k])}: r = ${signed(arrays.regime[t], 3)} becomes <b>r' = ${signed(arrays["managed:regime"][k], 3)}</b>, whose weights these are.`;
}

function managedWords(i, t) {
  const k = managedCell.get(t * N + i), bar = managedBar.get(t), symbol = escaped(facts.symbols[i]);
  const vetoed = bar !== undefined && arrays["managed:veto"][bar] === 1 ? "No new risk on this bar. " : "";
  if (k === undefined) return vetoed ? line("risk manager", `${vetoed}${symbol} is left alone.`) : "";
  const value = (name) => arrays["managed:" + name][k], text = (name) => escaped(facts.managed[value(name)]);
  const m = value("m"), before = value("proposed"), after = value("final"), zero = before === 0;
  const did = m === 1 ? `m = 1: ${signed(before, 3)} stays.` :
    zero ? `m = ${fixed(m)}, of nothing.` : `m = ${fixed(m)}: ${signed(before, 3)} proposed, <b class="hybrid">${signed(after, 3)}</b> left.`;
  const read = `Risk ${fixed(value("risk"), 1)} of 5, sentiment ${signed(value("sentiment"))}. `;
  const source = [text("reason"), text("documents")].filter((one) => one).join("<br>");
  return line("risk manager", `${vetoed}${read}${did}${source ? `<span class="read">${source}</span>` : ""}`);
}
