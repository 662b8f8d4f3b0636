// What is computed from the arrays: values in, values out.

const COARSEST = 2 ** -7; // twice the rounding of bfloat16, the coarsest that a model computes in

// The parts of a state at one timestep: c_T = initial * prod f + sum over t of i_t * g_t * prod of f since t; for a GRU
// with z for f, (1 - z) * candidate for i * g, and the hidden state. Masked steps write nothing and keep everything.
function ledger(part, s, t, u) {
  const gru = part.signals.has("update_gate");
  const state = gru ? "hidden_state" : "cell_state";
  const keeping = gru ? "update_gate" : "forget_gate";
  const needed = gru ? [keeping, "candidate", state] : ["input_gate", keeping, "candidate", state];
  const missing = needed.filter((name) => !part.signals.has(name));
  if (missing.length) {
    return { reason: `The ledger needs ${needed.join(", ")}; this trace has ${[...part.signals.keys()].join(", ")}. A SimpleRNN has no ledger.` };
  }
  const path = [];
  for (let k = part.backwards ? part.T - 1 : 0; k !== t; k += part.backwards ? -1 : 1) path.push(k);
  path.push(t);
  if (path.some((k, n) => n && Math.abs(part.timesteps[k] - part.timesteps[path[n - 1]]) !== 1)) {
    return { reason: "The ledger needs every timestep, and this trace leaves some out." };
  }
  const rows = [];
  let kept = 1;
  let sizes = 0; // of the numbers that were rounded on the way, each with what is left of it
  for (const k of [...path].reverse()) {
    if (part.masked(s, k, u)) continue;
    const keeps = part.at(keeping, s, k, u);
    const wrote = (gru ? 1 - keeps : part.at("input_gate", s, k, u)) * part.at("candidate", s, k, u);
    sizes += (2 * Math.abs(part.at(state, s, k, u)) + Math.abs(wrote)) * Math.abs(kept);
    rows.push({ t: k, wrote, kept, left: wrote * kept });
    kept *= keeps;
  }
  const value = part.at(state, s, t, u);
  const first = rows.at(-1);
  let initial = first ? (part.at(state, s, first.t, u) - first.wrote) * first.kept : value;
  if (first && Math.abs(initial) <= 2 * part.roundoff * Math.abs(first.left)) initial = 0; // the rounding of the write
  const rest = value - rows.reduce((total, row) => total + row.left, 0) - initial;
  const begins = part.complete[part.backwards ? 1 : 0];
  return { state, rows: rows.reverse(), initial, begins, since: path[0], value, rest, addsUp: Math.abs(rest) <= COARSEST * sizes };
}

// The highest (or lowest) values of a unit, each with a place of its own: what lies within `apart` timesteps of a better
// one in the same sample is the same context.
function contexts(part, name, u, { lowest = false, most = 10, apart = 4 } = {}) {
  const sign = lowest ? -1 : 1;
  const all = [];
  for (let s = 0; s < part.S; s += 1) {
    for (let t = 0; t < part.T; t += 1) {
      const value = part.at(name, s, t, u);
      if (Number.isFinite(value) && !part.masked(s, t, u)) all.push({ s, t, value });
    }
  }
  all.sort((a, b) => sign * (b.value - a.value) || a.s - b.s || a.t - b.t);
  const found = [];
  for (const one of all) {
    if (found.length === most) break;
    if (!found.some((other) => other.s === one.s && Math.abs(other.t - one.t) <= apart)) found.push(one);
  }
  return found;
}

// Units whose signal is above a threshold at every timestep of a stretch and not above it elsewhere in the sample, then
// those that come nearest to it; `gap` is the smallest value inside less the largest outside.
function search(part, name, s, { threshold, from, to, either = false, most = 12 }) {
  const found = [];
  for (let u = 0; u < part.U; u += 1) {
    for (const sign of either ? [1, -1] : [1]) {
      let [fits, of, inside, outside] = [0, 0, Infinity, -Infinity];
      for (let t = 0; t < part.T; t += 1) {
        const value = sign * part.at(name, s, t, u);
        if (part.masked(s, t, u) || Number.isNaN(value)) continue;
        const within = t >= from && t <= to;
        of += 1;
        fits += (value > threshold) === within ? 1 : 0;
        if (within) inside = Math.min(inside, value);
        else outside = Math.max(outside, value);
      }
      found.push({ u, sign, fits, of, inside, outside, gap: inside - outside });
    }
  }
  found.sort((a, b) => (b.fits === b.of) - (a.fits === a.of) || b.fits - a.fits || b.gap - a.gap || a.u - b.u);
  return { exact: found.filter((one) => one.of && one.fits === one.of).length, best: found.slice(0, most) };
}

// Shares of the timesteps at which a gate is nearly shut and nearly open (Karpathy, Johnson and Fei-Fei 2015).
function saturation(part, gate) {
  const values = part.signals.get(gate);
  const found = [];
  for (let u = 0; u < part.U; u += 1) {
    let [low, high, of] = [0, 0, 0];
    for (let at = u; at < values.length; at += part.U) {
      if (Number.isNaN(values[at])) continue; // a masked gate
      of += 1;
      low += values[at] < payload.saturated[0] ? 1 : 0;
      high += values[at] > payload.saturated[1] ? 1 : 0;
    }
    found.push(of ? { low: low / of, high: high / of } : null);
  }
  return found;
}
