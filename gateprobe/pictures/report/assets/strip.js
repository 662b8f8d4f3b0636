// A picture along time that scrolls: only what is seen is drawn, on a canvas as large as the window onto it.

const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const MONO = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';

function context(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return ctx;
}

class Strip {
  constructor(element, paint) {
    this.element = element;
    this.paint = paint;
    this.canvas = document.createElement("canvas");
    const pin = document.createElement("div");
    pin.className = "pin";
    pin.append(this.canvas);
    this.spacer = document.createElement("div");
    element.append(pin, this.spacer);
    element.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  resize(width, height) {
    this.spacer.style.width = `${width}px`;
    this.spacer.style.height = `${height}px`;
  }

  draw() {
    const { clientWidth: w, clientHeight: h, scrollLeft: x, scrollTop: y } = this.element;
    this.paint(context(this.canvas, w, h), { x, y, w, h });
  }

  scrolled() {
    for (const other of strips) if (other !== this && other.element.scrollLeft !== this.element.scrollLeft) other.element.scrollLeft = this.element.scrollLeft;
    draw();
  }

  // The place of a pointer in the whole picture, in pixels.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left + this.element.scrollLeft, y: event.clientY - box.top + this.element.scrollTop };
  }
}

const strips = [];

// Time runs alike in all strips: gutter, width of a timestep, and an axis with numbers and tokens.
const time = { gutter: 58, cell: 24, axis: 20, zoom: 1, upright: true, longest: 0 };

function shortened(text, most = 14) {
  const letters = [...text];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

// How wide timesteps and how high the axis must be for the tokens of a sample.
function layTime(part, sample, width) {
  time.gutter = width < 500 ? 46 : 58;
  const ctx = document.createElement("canvas").getContext("2d");
  ctx.font = `12px ${MONO}`;
  time.longest = 0;
  if (part.hasTokens) {
    for (let t = 0; t < part.T; t += 1) time.longest = Math.max(time.longest, ctx.measureText(shortened(shown(part.token(sample, t)))).width);
  }
  const least = part.hasTokens ? 15 : 4;
  const fitting = (width - time.gutter - 4) / part.T;
  time.cell = Math.max(2, Math.min(64, Math.max(fitting, least)) * time.zoom);
  time.upright = time.longest > time.cell - 3;
  time.axis = 18 + (part.hasTokens ? (time.upright ? Math.min(110, time.longest + 8) : 18) : 0);
}

function visible(part, box) {
  const first = Math.max(0, Math.floor(box.x / time.cell));
  return [first, Math.min(part.T, Math.ceil((box.x + box.w - time.gutter) / time.cell))];
}

function left(box, t) {
  return time.gutter + t * time.cell - box.x;
}

// Line breaks and blanks are shown as signs, so that every token is something to see.
function shown(token) {
  return token === null ? "" : token === " " ? "␣" : token;
}

function drawAxis(ctx, part, box) {
  const [first, last] = visible(part, box);
  ctx.save();
  ctx.fillStyle = variable("--panel");
  ctx.fillRect(0, 0, box.w, time.axis);
  ctx.beginPath();
  ctx.rect(time.gutter, 0, box.w - time.gutter, time.axis);
  ctx.clip();
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.font = `11px ${SANS}`;
  ctx.fillStyle = variable("--muted");
  const widest = ctx.measureText(String(part.timesteps.at(-1))).width + 10;
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((step) => step * time.cell >= widest) ?? 10000;
  for (let t = first; t < last; t += 1) {
    if (part.timesteps[t] % every === 0) ctx.fillText(String(part.timesteps[t]), left(box, t) + time.cell / 2, 9);
  }
  if (part.hasTokens) {
    ctx.font = `12px ${MONO}`;
    ctx.fillStyle = variable("--ink");
    for (let t = first; t < last && time.cell >= 11; t += 1) {
      const text = shortened(shown(part.token(state.sample, t)));
      if (!time.upright) {
        ctx.fillText(text, left(box, t) + time.cell / 2, 27);
        continue;
      }
      ctx.save();
      ctx.translate(left(box, t) + time.cell / 2, time.axis - 4);
      ctx.rotate(-Math.PI / 2);
      ctx.textAlign = "left";
      ctx.fillText(text, 0, 0);
      ctx.restore();
    }
  }
  ctx.restore();
}

function markStretch(ctx, part, box, top, height) {
  if (state.stretch === null) return;
  const [from, to] = state.stretch;
  const [x, width] = [left(box, from), (to - from + 1) * time.cell];
  ctx.save();
  ctx.beginPath();
  ctx.rect(time.gutter, 0, box.w, box.h);
  ctx.clip();
  ctx.fillStyle = variable("--accent");
  ctx.fillRect(x, top - 3, width, 3);
  ctx.globalAlpha = 0.9;
  ctx.strokeStyle = variable("--accent");
  ctx.setLineDash([4, 3]);
  ctx.strokeRect(x, top, width, height);
  ctx.restore();
}
