// What the page holds: one JSON text with the arrays in base64, exactly as they are in the trace.

const ARRAYS = { float32: Float32Array, float64: Float64Array };
const STATES = new Set(["cell_state", "hidden_state"]);
const GATES = ["input_gate", "forget_gate", "output_gate", "update_gate", "reset_gate"];

function bytes(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at += 1) found[at] = raw.charCodeAt(at);
  return found;
}

// One direction of one call of a layer. Samples, timesteps and units are positions here; `timesteps`, `units` and the
// page's `samples` hold their numbers.
class Part {
  constructor(entry, words) {
    Object.assign(this, { layer: entry.layer, direction: entry.direction, kind: entry.class, backwards: entry.backwards });
    this.timesteps = entry.timesteps;
    this.units = entry.units;
    this.complete = entry.complete;
    this.roundoff = entry.dtype === "float64" ? 2 ** -53 : 2 ** -24;
    [this.S, this.T, this.U] = entry.shape;
    this.signals = new Map(entry.signals.map(([name, text]) => [name, new ARRAYS[entry.dtype](bytes(text).buffer)]));
    this.mask = entry.mask === null ? null : bytes(entry.mask);
    this.maskUnits = entry.mask_units;
    const ids = entry.tokens === null ? null : new Uint32Array(bytes(entry.tokens).buffer);
    this.token = (s, t) => (ids === null ? null : words[ids[s * this.T + t]]);
    this.hasTokens = ids !== null;
    this.hasWords = this.hasTokens && [...new Set(ids)].some((id) => [...words[id]].length > 1);
    this.ranges = new Map();
  }

  at(name, s, t, u) {
    return this.signals.get(name)[(s * this.T + t) * this.U + u];
  }

  masked(s, t, u) {
    if (this.mask === null) return false;
    const place = s * this.T + t;
    return this.mask[this.maskUnits ? place * this.U + u : place] === 1;
  }

  // Smallest and largest finite value of a signal, over all samples, of one unit or of all.
  range(name, unit = null) {
    const key = `${name} ${unit}`;
    if (!this.ranges.has(key)) {
      const values = this.signals.get(name);
      let [low, high] = [Infinity, -Infinity];
      for (let at = unit ?? 0; at < values.length; at += unit === null ? 1 : this.U) {
        const value = values[at];
        if (!Number.isFinite(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
      this.ranges.set(key, low <= high ? [low, high] : [0, 0]);
    }
    return this.ranges.get(key);
  }

  lacksNumbers(name) {
    const key = `${name} NaN`;
    if (!this.ranges.has(key)) this.ranges.set(key, this.signals.get(name).some(Number.isNaN));
    return this.ranges.get(key);
  }

  // The signal that a search and the contexts begin with.
  get state() {
    return ["cell_state", "hidden_state"].find((name) => this.signals.has(name)) ?? [...this.signals.keys()].at(-1);
  }
}

const payload = JSON.parse(document.getElementById("data").textContent);
const parts = payload.parts.map((entry) => new Part(entry, payload.words));

function number(value, digits = 4) {
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "minus infinite";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 0.5 * 10 ** -digits) ? value.toExponential(2) : value.toFixed(digits);
}
