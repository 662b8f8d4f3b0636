// The state of the page, its controls, and what follows from a change.

const $ = (id) => document.getElementById(id);
const layers = [...new Set(parts.map((one) => one.layer))];
const state = { part: 0, sample: 0, signal: "", unit: 0, time: 0, stretch: null, perUnit: false, lowest: false };
const measured = { ledger: { rows: [], reason: "" }, gates: [], gatesOf: null };
const part = () => parts[state.part];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => element("option", { value }, text)));
  select.value = String(chosen);
  select.disabled = entries.length < 2;
}

const clamp = (value, most) => Math.max(0, Math.min(most, value));

// Change the state; everything else follows. What is no longer there gives way to what is nearest.
function set(change, { reveal = false } = {}) {
  const before = { ...state };
  Object.assign(state, change);
  state.sample = clamp(state.sample, part().S - 1);
  state.unit = clamp(state.unit, part().U - 1);
  state.time = clamp(state.time, part().T - 1);
  if (!part().signals.has(state.signal)) state.signal = part().state;
  if (before.part !== state.part && part().T !== parts[before.part].T) state.stretch = null;
  const anew = before.part !== state.part || before.sample !== state.sample || change.all;
  if (anew || before.signal !== state.signal) showControls();
  if (anew) lay();
  if (anew || before.part !== state.part) measureGates();
  measured.ledger = ledger(part(), state.sample, state.time, state.unit);
  showText();
  showContexts();
  showReadout();
  showLegend();
  showLedger();
  showSaturation();
  showSearch();
  if (reveal) bringIntoView();
  draw();
  remember();
}

function showControls() {
  options($("sample"), payload.samples.map((name, at) => [at, sampleName(at)]), state.sample);
  options($("layer"), layers.map((name, at) => [at, name]), layers.indexOf(part().layer));
  const ways = parts.map((one, at) => [at, one.direction]).filter(([at]) => parts[at].layer === part().layer);
  options($("direction"), ways, state.part);
  const signals = [...part().signals.keys()].map((name) => [name, name]);
  options($("signal"), signals, state.signal);
  const searched = part().signals.has($("search-signal").value) ? $("search-signal").value : part().state;
  options($("search-signal"), signals, searched);
  $("previous").disabled = state.sample === 0;
  $("next").disabled = state.sample === part().S - 1;
  suggestThreshold();
}

function sampleName(at) {
  return String(payload.samples[at]);
}

const room = () => $("heat").parentElement.clientWidth - 30;

// Give the strips their sizes.
function lay() {
  layTime(part(), state.sample, room());
  const width = time.gutter + part().T * time.cell + 2;
  const names = part().signals.size;
  for (const [strip, height] of [[heat, part().U * rowHeight()], [curves, names * CURVE], [ledgerStrip, BARS]]) {
    strip.resize(width, time.axis + height);
    strip.element.style.height = `${Math.min(strip === heat ? 440 : Infinity, time.axis + height + (width > room() ? 16 : 2))}px`;
  }
}

function bringIntoView() {
  const { element: seen } = heat;
  const [x, y, height] = [state.time * time.cell, state.unit * rowHeight(), rowHeight()];
  const [wide, high] = [seen.clientWidth - time.gutter, seen.clientHeight - time.axis];
  if (x < seen.scrollLeft || x + time.cell > seen.scrollLeft + wide) seen.scrollLeft = x - wide / 2;
  if (y < seen.scrollTop || y + height > seen.scrollTop + high) seen.scrollTop = y - high / 2;
  for (const strip of strips) strip.element.scrollLeft = seen.scrollLeft;
}

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const strip of strips) strip.draw();
    drawScatter();
  });
}

function place(s, t) {
  const token = part().token(s, t);
  return `timestep ${part().timesteps[t]}${token === null ? "" : ` “${shown(token)}”`}`;
}

function showReadout() {
  const value = part().at(state.signal, state.sample, state.time, state.unit);
  const masked = part().masked(state.sample, state.time, state.unit);
  const what = masked && Number.isNaN(value) ? "masked: not used" : `${number(value)}${masked ? ", carried through a masked timestep" : ""}`;
  $("readout").textContent = `unit ${part().units[state.unit]}, ${place(state.sample, state.time)}: ${state.signal} ${what}`;
  $("values").replaceChildren(...[...part().signals.keys()].map((name) => {
    const own = part().at(name, state.sample, state.time, state.unit);
    return element("div", {}, element("dt", {}, name), element("dd", {}, masked && Number.isNaN(own) ? "masked" : number(own)));
  }));
  $("heat-title").textContent = `${state.signal} of every unit over time`;
  $("curves-title").textContent = `Unit ${part().units[state.unit]}: its signals over time`;
}

function showLegend() {
  const scale = scaleOf(part(), state.signal, state.perUnit ? state.unit : null);
  const canvas = element("canvas", { "aria-hidden": "true" });
  const ctx = context(canvas, 120, 12);
  for (let x = 0; x < 120; x += 1) {
    ctx.fillStyle = css(scale.colours[Math.round((x / 119) * STEPS)]);
    ctx.fillRect(x, 0, 1, 12);
  }
  const entries = [element("span", { class: "ramp" }, number(scale.low, 2), canvas, number(scale.high, 2))];
  const swatch = (colour, text) => {
    const square = element("span", { class: "swatch" });
    square.style.background = variable(colour);
    entries.push(element("span", {}, square, text));
  };
  if (part().mask !== null) swatch("--masked", "masked");
  if (part().mask === null && part().lacksNumbers(state.signal)) swatch("--nan", "not a number");
  if (part().backwards) entries.push(element("span", {}, "reads from right to left"));
  $("legend").replaceChildren(...entries);
}

const SPANS = 600;

function coloured(span, s, t) {
  const value = part().at(state.signal, s, t, state.unit);
  const masked = part().masked(s, t, state.unit);
  const scale = scaleOf(part(), state.signal, state.perUnit ? state.unit : null);
  const colour = masked ? parsed(variable("--masked")) : Number.isNaN(value) ? parsed(variable("--nan")) : colourOf(scale, value);
  span.style.background = css(colour);
  span.style.color = inkOn(colour);
}

function showText() {
  const there = part().hasTokens;
  $("text").hidden = !there;
  $("text-title").textContent = `Text, coloured by ${state.signal} of unit ${part().units[state.unit]}`;
  if (!there) {
    $("text").replaceChildren();
    $("text-hint").textContent = "This report was made without tokens: --tokens or --vocab write them beside the timesteps.";
    return;
  }
  const from = clamp(state.time - SPANS / 2, Math.max(0, part().T - SPANS));
  const to = Math.min(part().T, from + SPANS);
  const spans = [];
  for (let t = from; t < to; t += 1) {
    const span = element("span", { class: t === state.time ? "token here" : "token", "data-t": t });
    span.textContent = shown(part().token(state.sample, t)) || "·";
    coloured(span, state.sample, t);
    spans.push(span);
  }
  $("text").classList.toggle("words", part().hasWords);
  $("text").replaceChildren(...spans);
  $("text-hint").textContent = to - from < part().T ? `Timesteps ${part().timesteps[from]} to ${part().timesteps[to - 1]}, around the selected one.` : "";
}

function showLedger() {
  const found = measured.ledger;
  const unit = part().units[state.unit];
  $("ledger-title").textContent = `Memory ledger: what wrote ${found.state ?? "the state"} of unit ${unit}`;
  $("ledger").hidden = Boolean(found.reason);
  $("parts").replaceChildren();
  if (found.reason) {
    $("ledger-sum").textContent = found.reason;
    return;
  }
  $("ledger-sum").textContent = `At ${place(state.sample, state.time)} it is ${number(found.value)}: the sum of what each timestep wrote (outlined) times what the gates have kept of it since (filled).`;
  const ranked = [...found.rows].sort((a, b) => Math.abs(b.left) - Math.abs(a.left));
  const top = ranked.slice(0, 8);
  const others = ranked.slice(8);
  const row = (kind, ...texts) => element("tr", kind ? { class: kind } : {}, ...texts.map((text) => element(kind === "head" ? "th" : "td", {}, text)));
  const rows = top.map((one) => row("", String(part().timesteps[one.t]), shown(part().token(state.sample, one.t)), number(one.wrote), number(one.kept), number(one.left)));
  if (others.length) rows.push(row("", `${others.length} others`, "", "", "", number(others.reduce((sum, one) => sum + one.left, 0))));
  rows.push(row("", found.begins ? "initial state" : `before timestep ${part().timesteps[found.since]}`, "", "", "", number(found.initial)));
  rows.push(row("", found.addsUp ? "rounding" : "not explained by the gates", "", "", "", number(found.rest)));
  rows.push(row("total", found.state, "", "", "", number(found.value)));
  $("parts").replaceChildren(row("head", "timestep", part().hasTokens ? "token" : "", "wrote", "× kept", "= left"), ...rows);
}

function showContexts() {
  const key = [state.part, state.unit, state.signal, state.lowest, state.perUnit, isDark()].join();
  $("contexts-title").textContent = `Top contexts of unit ${part().units[state.unit]} by ${state.signal}`;
  if ($("contexts").dataset.key !== key) {
    $("contexts").dataset.key = key;
    const found = contexts(part(), state.signal, state.unit, { lowest: state.lowest });
    $("contexts").replaceChildren(...found.map(contextRow));
    for (const here of $("contexts").querySelectorAll(".here")) {
      here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
    }
    const among = `among ${payload.samples.length} sample${payload.samples.length === 1 ? "" : "s"}`;
    $("contexts-hint").textContent = `The ${state.lowest ? "lowest" : "highest"} values ${among}, one for any nine neighbouring timesteps.`;
  }
  for (const button of $("contexts").querySelectorAll("button")) {
    const { s, t } = button.dataset;
    button.setAttribute("aria-pressed", String(Number(s) === state.sample && Number(t) === state.time));
  }
}

function contextRow({ s, t, value }) {
  const words = part().hasWords;
  const snippet = element("span", { class: words ? "snippet words" : "snippet", "aria-hidden": "true" });
  const before = words ? 3 : 12;
  for (let k = Math.max(0, t - before); k < Math.min(part().T, t + (words ? 4 : 8)); k += 1) {
    const span = element("span", k === t ? { class: "here" } : {}, part().hasTokens ? shortened(shown(part().token(s, k))) || "·" : "");
    coloured(span, s, k);
    snippet.append(span);
  }
  const token = part().token(s, t);
  const where = `sample ${sampleName(s)}, timestep ${part().timesteps[t]}`;
  const head = element("span", { class: "row" }, element("span", {}, number(value)), element("span", {}, where));
  const label = `${number(value)}, ${where}${token === null ? "" : `, “${shown(token)}”`}`;
  return element("li", {}, element("button", { type: "button", "data-s": s, "data-t": t, "aria-label": label }, head, snippet));
}

let suggested = "";
function suggestThreshold() {
  if ($("threshold").value !== suggested) return; // the user's own
  const [low, high] = part().range($("search-signal").value);
  suggested = String(Number((Math.max(high, -low) / 2).toPrecision(2)));
  $("threshold").value = suggested;
}

function positionOf(text) {
  const wanted = Number(text);
  return text === "" || !Number.isInteger(wanted) ? -1 : part().timesteps.indexOf(wanted);
}

function showSearch() {
  if (state.stretch !== null && document.activeElement !== $("from") && document.activeElement !== $("to")) {
    [$("from").value, $("to").value] = state.stretch.map((t) => part().timesteps[t]);
  }
  if (state.stretch === null) {
    $("results").replaceChildren();
    $("found").textContent = $("from").value === "" && $("to").value === ""
      ? "Drag over timesteps of the heat map, or type the first and the last one."
      : `Type timesteps from ${part().timesteps[0]} to ${part().timesteps.at(-1)}, the first one first.`;
    return;
  }
  const threshold = Number($("threshold").value);
  if ($("threshold").value === "" || !Number.isFinite(threshold)) {
    $("results").replaceChildren();
    $("found").textContent = "Type a threshold.";
    return;
  }
  const [from, to] = state.stretch;
  const name = $("search-signal").value;
  const { exact, best } = search(part(), name, state.sample, { threshold, from, to, either: $("either").checked });
  const stretch = from === to ? `timestep ${part().timesteps[from]}` : `timesteps ${part().timesteps[from]} to ${part().timesteps[to]}`;
  const units = { 0: "No unit has", 1: "1 unit has" }[exact] ?? `${exact} units have`;
  $("found").textContent = `${units} ${name} above ${threshold} at ${stretch} of sample ${sampleName(state.sample)} and nowhere else in it${exact < best.length ? "; these come nearest" : ""}.`;
  $("results").replaceChildren(...best.map((one) => {
    const sign = one.sign < 0 ? " (negative)" : "";
    const head = element("span", { class: "row" },
      element("span", {}, `${one.of && one.fits === one.of ? "✓ " : ""}unit ${part().units[one.u]}${sign}`),
      element("span", {}, `${one.fits} of ${one.of} timesteps fit; gap ${number(one.gap, 2)}`));
    return element("li", {}, element("button", { type: "button", "data-u": one.u, "aria-pressed": one.u === state.unit }, head));
  }));
}

function measureGates() {
  if (measured.gatesOf === state.part) return;
  measured.gatesOf = state.part;
  measured.gates = GATES.filter((name) => part().signals.has(name)).map((name) => ({ name, shares: saturation(part(), name) }));
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function showSaturation() {
  const unit = part().units[state.unit];
  $("gates").replaceChildren(...measured.gates.map(({ name }, at) => {
    const square = element("span", { class: "swatch" });
    square.style.background = variable(`--gate-${at % 3}`);
    return element("span", {}, square, `${"●■▲"[at % 3]} ${name}`);
  }));
  const lines = measured.gates.map(({ name, shares }) => {
    const own = shares[state.unit];
    return own === null ? `${name} always masked` : `${name} ${percent(own.low)} below ${payload.saturated[0]}, ${percent(own.high)} above ${payload.saturated[1]}`;
  });
  $("saturation").textContent = lines.length
    ? `Unit ${unit}: ${lines.join("; ")}. Over ${payload.samples.length} samples; click a mark to choose its unit.`
    : "This layer's trace holds no gates.";
}

function showAbout() {
  const { about, verdict } = payload;
  $("file").textContent = about.title;
  $("tagline").textContent = about.tagline;
  if (payload.left_out.length) {
    $("left-out").hidden = false;
    $("left-out").textContent = payload.left_out.join(" ");
  }
  const listed = (texts) => texts.map((text) => element("div", {}, text));
  for (const [name, texts] of about.facts) $("facts").append(element("dt", {}, name), element("dd", {}, ...listed(texts)));
  if (verdict === null) return;
  $("verdict").hidden = false;
  $("verdict").textContent = verdict.badge;
  $("verdict").classList.add(verdict.status);
  $("verification").append(element("p", { class: `verdict ${verdict.status}` }, verdict.sentence), ...verdict.lines.map((line) => element("p", {}, line)));
}

// The state stands in the address, so that a view can be kept or sent; what it says is checked like any input.
function remember() {
  const view = { sample: payload.samples[state.sample], layer: part().layer, direction: part().direction, signal: state.signal, unit: part().units[state.unit], timestep: part().timesteps[state.time] };
  if (state.stretch !== null) view.stretch = state.stretch.map((t) => part().timesteps[t]).join("-");
  history.replaceState(null, "", `#${new URLSearchParams(view)}`);
}

function recalled() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const at = parts.findIndex((one) => one.layer === asked.get("layer") && one.direction === asked.get("direction"));
  const found = { part: Math.max(0, at) };
  const one = parts[found.part];
  const index = (list, key) => Math.max(0, list.findIndex((value) => String(value) === asked.get(key)));
  found.signal = one.signals.has(asked.get("signal")) ? asked.get("signal") : one.state;
  [found.sample, found.unit, found.time] = [index(payload.samples, "sample"), index(one.units, "unit"), index(one.timesteps, "timestep")];
  if (String(one.timesteps[found.time]) !== asked.get("timestep")) found.time = firstView(one, found.sample);
  const [from, to] = (asked.get("stretch") ?? "").split("-").map((text) => (text === "" ? -1 : one.timesteps.indexOf(Number(text))));
  found.stretch = from >= 0 && to >= from ? [from, to] : null;
  return found;
}

// Where a page begins that says nothing else: at the last timestep that is not masked.
function firstView(one, sample) {
  let t = one.T - 1;
  while (t > 0 && one.masked(sample, t, 0)) t -= 1;
  return t;
}

function cellAt(event) {
  const { x, y } = heat.place(event);
  const t = Math.floor((x - time.gutter) / time.cell);
  const u = Math.floor((y - time.axis) / rowHeight());
  const within = x - heat.element.scrollLeft >= time.gutter && t >= 0 && t < part().T;
  return { t: within ? t : null, u: within && u >= 0 && u < part().U && y - heat.element.scrollTop >= time.axis ? u : null };
}

function listenToHeat() {
  let start = null;
  let dragged = false;
  heat.canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    start = cellAt(event).t;
    dragged = false;
    heat.canvas.setPointerCapture(event.pointerId);
  });
  heat.canvas.addEventListener("pointermove", (event) => {
    const { t, u } = cellAt(event);
    tip(event, t, u);
    if (start === null || t === null || (t === start && !dragged)) return;
    dragged = true;
    set({ stretch: [Math.min(start, t), Math.max(start, t)] });
  });
  heat.canvas.addEventListener("pointerup", () => { start = null; });
  heat.canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  heat.canvas.addEventListener("click", (event) => {
    const { t, u } = cellAt(event);
    if (!dragged && t !== null) set(u === null ? { time: t } : { time: t, unit: u });
    dragged = false;
  });
  heat.element.addEventListener("keydown", (event) => {
    const far = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -10], PageDown: [0, 10], Home: [-Infinity, 0], End: [Infinity, 0] }[event.key];
    if (!far || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const at = clamp(state.time + far[0], part().T - 1);
    const change = { time: at, unit: clamp(state.unit + far[1], part().U - 1) };
    if (event.shiftKey && far[0]) {
      const [from, to] = state.stretch?.includes(state.time) ? state.stretch : [state.time, state.time];
      const fixed = from === state.time && to !== state.time ? to : from;
      change.stretch = [Math.min(fixed, at), Math.max(fixed, at)];
    }
    set(change, { reveal: true });
  });
}

function tip(event, t, u) {
  const shownNow = event.pointerType === "mouse" && t !== null && u !== null;
  $("tip").hidden = !shownNow;
  if (!shownNow) return;
  const value = part().at(state.signal, state.sample, t, u);
  const masked = part().masked(state.sample, t, u) ? ", masked" : "";
  $("tip").textContent = `unit ${part().units[u]}, ${place(state.sample, t)}: ${Number.isNaN(value) && masked ? "not used" : number(value)}${masked}`;
  $("tip").style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - $("tip").offsetWidth - 4))}px`;
  $("tip").style.top = `${event.clientY + 16}px`;
}

function listen() {
  const on = (id, kind, change) => $(id).addEventListener(kind, change);
  for (const id of ["controls", "search"]) on(id, "submit", (event) => event.preventDefault());
  on("sample", "change", () => set({ sample: Number($("sample").value) }));
  on("previous", "click", () => set({ sample: state.sample - 1 }));
  on("next", "click", () => set({ sample: state.sample + 1 }));
  on("layer", "change", () => set({ part: parts.findIndex((one) => one.layer === layers[Number($("layer").value)]) }, { reveal: true }));
  on("direction", "change", () => set({ part: Number($("direction").value) }, { reveal: true }));
  on("signal", "change", () => set({ signal: $("signal").value }));
  on("scale", "change", () => set({ perUnit: $("scale").value === "unit" }));
  for (const [id, factor] of [["narrower", 1 / 1.5], ["wider", 1.5]]) {
    on(id, "click", () => {
      time.zoom = Math.max(0.1, Math.min(20, time.zoom * factor));
      set({ all: true }, { reveal: true });
    });
  }
  on("order", "change", () => set({ lowest: $("order").value === "lowest" }));
  on("search-signal", "change", () => { suggestThreshold(); set({}); });
  on("threshold", "input", () => set({}));
  on("either", "change", () => set({}));
  for (const id of ["from", "to"]) {
    on(id, "input", () => {
      const [from, to] = [positionOf($("from").value), positionOf($("to").value)];
      set({ stretch: from >= 0 && to >= from ? [from, to] : null });
    });
  }
  on("results", "click", (event) => {
    const button = event.target.closest("button");
    if (button) set({ unit: Number(button.dataset.u), signal: $("search-signal").value }, { reveal: true });
    refocus("results", button, "u");
  });
  on("contexts", "click", (event) => {
    const button = event.target.closest("button");
    if (button) set({ sample: Number(button.dataset.s), time: Number(button.dataset.t) }, { reveal: true });
  });
  on("text", "click", (event) => {
    const span = event.target.closest(".token");
    if (span) set({ time: Number(span.dataset.t) }, { reveal: true });
  });
  on("scatter", "click", (event) => {
    const unit = unitAt(event);
    if (unit !== null) set({ unit }, { reveal: true });
  });
  for (const strip of [curves, ledgerStrip]) {
    strip.canvas.addEventListener("click", (event) => {
      const t = Math.floor((strip.place(event).x - time.gutter) / time.cell);
      if (t >= 0 && t < part().T) set({ time: t });
    });
  }
  on("theme", "click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    themed();
  });
  window.addEventListener("hashchange", () => {
    if (location.hash.includes("layer=")) set(recalled(), { reveal: true });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
  let width = 0;
  new ResizeObserver(() => {
    if (room() !== width) {
      width = room();
      lay();
      bringIntoView();
    }
    draw();
  }).observe($("heat").parentElement);
  listenToHeat();
}

// A list that is made anew loses the focus of its buttons.
function refocus(list, button, key) {
  if (button) $(list).querySelector(`button[data-${key}="${button.dataset[key]}"]`)?.focus();
}

function themed() {
  theme.clear();
  $("theme").textContent = isDark() ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  set({});
}

const heat = new Strip($("heat"), drawHeat);
const curves = new Strip($("curves"), drawCurves);
const ledgerStrip = new Strip($("ledger"), drawLedger);
strips.push(heat, curves, ledgerStrip);

showAbout();
listen();
set({ ...recalled(), all: true }, { reveal: true });
themed();
