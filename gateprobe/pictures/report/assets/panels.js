// The pictures. Each draws the state of the page; none keeps anything of its own.

const HEAT = { highest: 30, lowest: 9 };

function rowHeight() {
  return Math.max(HEAT.lowest, Math.min(HEAT.highest, 340 / part().U));
}

// The scale of each unit's row.
function heatScales() {
  const { signal, perUnit } = state;
  if (perUnit) return (u) => scaleOf(part(), signal, u);
  const whole = scaleOf(part(), signal);
  return () => whole;
}

// One pixel for each cell that is seen, then enlarged without smoothing.
function cells(scales, [t0, t1], [u0, u1]) {
  const image = new ImageData(Math.max(1, t1 - t0), Math.max(1, u1 - u0));
  const [masked, nan] = [parsed(variable("--masked")), parsed(variable("--nan"))];
  let at = 0;
  for (let u = u0; u < u1; u += 1) {
    const scale = scales(u);
    for (let t = t0; t < t1; t += 1) {
      const value = part().at(state.signal, state.sample, t, u);
      const colour = part().masked(state.sample, t, u) ? masked : Number.isNaN(value) ? nan : colourOf(scale, value);
      image.data.set([...colour, 255], at);
      at += 4;
    }
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function drawHeat(ctx, box) {
  const [height, scales] = [rowHeight(), heatScales()];
  const [t0, t1] = visible(part(), box);
  const u0 = Math.max(0, Math.floor(box.y / height));
  const u1 = Math.min(part().U, Math.ceil((box.y + box.h - time.axis) / height));
  const top = (u) => time.axis + u * height - box.y;
  ctx.save();
  ctx.beginPath();
  ctx.rect(time.gutter, time.axis, box.w, box.h);
  ctx.clip();
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(cells(scales, [t0, t1], [u0, u1]), left(box, t0), top(u0), (t1 - t0) * time.cell, (u1 - u0) * height);
  if (time.cell >= 9 && height >= 7) drawGaps(ctx, box, top, height, [t0, t1], [u0, u1]);
  if (time.cell >= 38 && height >= 18) drawNumbers(ctx, box, top, height, scales, [t0, t1], [u0, u1]);
  frame(ctx, 1, time.gutter - 1 - box.x, top(state.unit), part().T * time.cell + 2, height);
  frame(ctx, 2, left(box, state.time), top(state.unit), time.cell, height);
  ctx.restore();
  drawUnits(ctx, box, top, height, [u0, u1]);
  drawAxis(ctx, part(), box);
  markStretch(ctx, part(), box, time.axis, Math.min(box.h - time.axis, part().U * height) - 1);
}

// A frame that is seen on every colour: dark within light, or the other way round.
function frame(ctx, width, x, y, wide, high) {
  for (const [colour, line] of [["--panel", width + 2], ["--mark", width]]) {
    ctx.strokeStyle = variable(colour);
    ctx.lineWidth = line;
    ctx.strokeRect(x + 0.5, y + 0.5, wide - 1, high - 1);
  }
}

function drawGaps(ctx, box, top, height, [t0, t1], [u0, u1]) {
  ctx.fillStyle = variable("--panel");
  for (let t = t0; t < t1; t += 1) ctx.fillRect(left(box, t) + time.cell - 1, top(u0), 1, (u1 - u0) * height);
  for (let u = u0; u < u1; u += 1) ctx.fillRect(time.gutter, top(u) + height - 1, box.w, 1);
}

function drawNumbers(ctx, box, top, height, scales, [t0, t1], [u0, u1]) {
  ctx.font = `11px ${SANS}`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  for (let u = u0; u < u1; u += 1) {
    for (let t = t0; t < t1; t += 1) {
      const value = part().at(state.signal, state.sample, t, u);
      if (part().masked(state.sample, t, u) || !Number.isFinite(value)) continue;
      ctx.fillStyle = inkOn(colourOf(scales(u), value));
      ctx.fillText(number(value, 2), left(box, t) + time.cell / 2, top(u) + height / 2, time.cell - 4);
    }
  }
}

function drawUnits(ctx, box, top, height, [u0, u1]) {
  ctx.fillStyle = variable("--panel");
  ctx.fillRect(0, time.axis, time.gutter - 1, box.h);
  ctx.font = `11px ${SANS}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  const every = [1, 2, 5, 10, 20, 50, 100].find((step) => step * height >= 13);
  for (let u = u0; u < u1; u += 1) {
    const chosen = u === state.unit;
    if (!chosen && (part().units[u] % every || Math.abs(u - state.unit) * height < 13)) continue;
    ctx.fillStyle = variable(chosen ? "--ink" : "--muted");
    ctx.font = `${chosen ? "bold " : ""}11px ${SANS}`;
    ctx.fillText(`unit ${part().units[u]}`, time.gutter - 7, top(u) + height / 2, time.gutter - 10);
  }
  ctx.fillStyle = variable("--panel");
  ctx.fillRect(0, 0, time.gutter, time.axis);
}

// The signals of one unit, one below the other; gates from 0 to 1, the others around zero.
const CURVE = 62;

function drawCurves(ctx, box) {
  const names = [...part().signals.keys()];
  const [t0, t1] = visible(part(), box);
  names.forEach((name, row) => {
    const top = time.axis + row * CURVE - box.y;
    const scale = scaleOf(part(), name, state.unit);
    const y = (value) => top + 16 + (CURVE - 22) * (1 - (value - scale.low) / (scale.high - scale.low));
    ctx.fillStyle = variable("--muted");
    ctx.font = `10px ${SANS}`;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillText(number(scale.high, 1), time.gutter - 7, y(scale.high));
    ctx.fillText(number(scale.low, 1), time.gutter - 7, y(scale.low));
    ctx.save();
    ctx.beginPath();
    ctx.rect(time.gutter, time.axis, box.w, box.h);
    ctx.clip();
    shadeMasked(ctx, box, top + 14, CURVE - 18, [t0, t1]);
    ctx.fillStyle = variable("--line");
    for (const value of new Set([scale.low, Math.max(0, scale.low), scale.high])) ctx.fillRect(time.gutter, y(value), part().T * time.cell, 1);
    drawLine(ctx, box, name, y, [t0, t1]);
    ctx.restore();
    ctx.fillStyle = variable(name === state.signal ? "--ink" : "--muted");
    ctx.font = `${name === state.signal ? "bold " : ""}11px ${SANS}`;
    ctx.textAlign = "left";
    ctx.fillText(name, time.gutter + 2, top + 7);
  });
  drawAxis(ctx, part(), box);
  drawCursor(ctx, box);
}

function shadeMasked(ctx, box, top, height, [t0, t1]) {
  ctx.fillStyle = variable("--masked");
  for (let t = t0; t < t1; t += 1) {
    if (part().masked(state.sample, t, state.unit)) ctx.fillRect(left(box, t), top, time.cell, height);
  }
}

function drawLine(ctx, box, name, y, [t0, t1]) {
  ctx.strokeStyle = variable("--accent");
  ctx.fillStyle = variable("--accent");
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  let drawing = false;
  const dots = [];
  for (let t = Math.max(0, t0 - 1); t < Math.min(part().T, t1 + 1); t += 1) {
    const value = part().at(name, state.sample, t, state.unit);
    if (!Number.isFinite(value)) {
      drawing = false;
      continue;
    }
    const place = [left(box, t) + time.cell / 2, y(value)];
    ctx[drawing ? "lineTo" : "moveTo"](...place);
    drawing = true;
    dots.push(place);
  }
  ctx.stroke();
  if (time.cell < 8) return;
  for (const place of dots) {
    ctx.beginPath();
    ctx.arc(...place, 2.5, 0, 2 * Math.PI);
    ctx.fill();
  }
}

function drawCursor(ctx, box) {
  const x = left(box, state.time);
  if (x + time.cell < time.gutter) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(time.gutter, 0, box.w, box.h);
  ctx.clip();
  ctx.strokeStyle = variable("--mark");
  ctx.lineWidth = 1;
  ctx.strokeRect(x + 0.5, time.axis + 0.5, time.cell - 1, box.h - time.axis - 1);
  ctx.restore();
}

// The ledger: outlined what a timestep wrote, filled what is left of it.
const BARS = 110;

function drawLedger(ctx, box) {
  const found = measured.ledger;
  drawAxis(ctx, part(), box);
  if (found.reason) return;
  const most = found.rows.reduce((high, row) => Math.max(high, Math.abs(row.wrote), Math.abs(row.left)), 0) || 1;
  const middle = time.axis + BARS / 2;
  const y = (value) => middle - (value / most) * (BARS / 2 - 8);
  ctx.fillStyle = variable("--muted");
  ctx.font = `10px ${SANS}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const value of [most, 0, -most]) ctx.fillText(number(value, 1), time.gutter - 7, y(value));
  ctx.save();
  ctx.beginPath();
  ctx.rect(time.gutter, time.axis, box.w, box.h);
  ctx.clip();
  ctx.fillStyle = variable("--line");
  ctx.fillRect(time.gutter, middle, part().T * time.cell, 1);
  const scale = { low: -most, high: most, colours: isDark() ? RAMPS.dark : RAMPS.light };
  const inset = time.cell > 8 ? 2 : 0;
  for (const row of found.rows) {
    const x = left(box, row.t) + inset;
    const width = Math.max(1, time.cell - 2 * inset);
    if (x + width < time.gutter || x > box.w) continue;
    ctx.fillStyle = css(colourOf(scale, Math.sign(row.left) * most * 0.72));
    ctx.fillRect(x, Math.min(middle, y(row.left)), width, Math.abs(y(row.left) - middle));
    ctx.strokeStyle = variable("--muted");
    ctx.strokeRect(x + 0.5, Math.min(middle, y(row.wrote)) + 0.5, Math.max(0.5, width - 1), Math.abs(y(row.wrote) - middle));
  }
  ctx.restore();
  drawCursor(ctx, box);
}

// Every unit's gates: how often they are nearly shut, and nearly open.
const MARGIN = { left: 52, right: 12, top: 10, bottom: 34 };
const MARKS = [
  (ctx, x, y, r) => ctx.arc(x, y, r, 0, 2 * Math.PI),
  (ctx, x, y, r) => ctx.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  (ctx, x, y, r) => [[0, -1.25], [1.15, 0.9], [-1.15, 0.9]].forEach(([dx, dy], n) => ctx[n ? "lineTo" : "moveTo"](x + dx * r, y + dy * r)),
];

function scatterPlace(size, shares) {
  const [w, h] = [size - MARGIN.left - MARGIN.right, size - MARGIN.top - MARGIN.bottom];
  return [MARGIN.left + shares.low * w, MARGIN.top + (1 - shares.high) * h];
}

function drawScatter() {
  const canvas = document.getElementById("scatter");
  const size = Math.min(360, canvas.parentElement.clientWidth - 28);
  canvas.hidden = !measured.gates.length;
  if (canvas.hidden) return;
  const key = [state.part, size, isDark(), window.devicePixelRatio].join();
  if (backdrop.key !== key) {
    backdrop.key = key;
    drawBackdrop(context(backdrop.canvas, size, size), size);
  }
  const ctx = context(canvas, size, size);
  ctx.drawImage(backdrop.canvas, 0, 0, size, size);
  drawMarks(ctx, size, [state.unit], true);
}

// All marks, which stay while another unit is chosen.
const backdrop = { canvas: document.createElement("canvas"), key: "" };

function drawBackdrop(ctx, size) {
  ctx.font = `11px ${SANS}`;
  ctx.fillStyle = variable("--muted");
  ctx.strokeStyle = variable("--line");
  ctx.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const [x] = scatterPlace(size, { low: share, high: 0 });
    const [, y] = scatterPlace(size, { low: 0, high: share });
    ctx.textAlign = "center";
    ctx.fillText(`${100 * share}%`, Math.min(x, size - 16), size - MARGIN.bottom + 10);
    ctx.textAlign = "right";
    ctx.fillText(`${100 * share}%`, MARGIN.left - 5, y);
  }
  ctx.textAlign = "center";
  ctx.fillText(`timesteps below ${payload.saturated[0]}`, MARGIN.left + (size - MARGIN.left) / 2, size - 8);
  ctx.save();
  ctx.translate(9, MARGIN.top + (size - MARGIN.top - MARGIN.bottom) / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.fillText(`timesteps above ${payload.saturated[1]}`, 0, 0);
  ctx.restore();
  ctx.beginPath();
  [{ low: 0, high: 1 }, { low: 0, high: 0 }, { low: 1, high: 0 }].forEach((shares, n) => ctx[n ? "lineTo" : "moveTo"](...scatterPlace(size, shares)));
  ctx.closePath();
  ctx.stroke();
  drawMarks(ctx, size, [...Array(part().U).keys()], false);
}

function drawMarks(ctx, size, units, chosen) {
  measured.gates.forEach(({ shares }, gate) => {
    for (const u of units) {
      const share = shares[u];
      if (share === null) continue;
      const [x, y] = scatterPlace(size, share);
      ctx.beginPath();
      MARKS[gate % MARKS.length](ctx, x, y, chosen ? 6.5 : 4);
      ctx.globalAlpha = chosen ? 1 : 0.6;
      ctx.fillStyle = variable(`--gate-${gate % 3}`);
      ctx.fill();
      ctx.globalAlpha = 1;
      ctx.lineWidth = chosen ? 2 : 1;
      ctx.strokeStyle = variable(chosen ? "--mark" : "--panel");
      ctx.stroke();
    }
  });
}

// The unit whose mark lies nearest to a pointer; the next one of those at the same place when it is chosen already.
function unitAt(event) {
  const canvas = document.getElementById("scatter");
  const box = canvas.getBoundingClientRect();
  const near = [];
  measured.gates.forEach(({ shares }) => shares.forEach((share, u) => {
    if (share === null) return;
    const [x, y] = scatterPlace(box.width, share);
    near.push({ u, far: Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top) });
  }));
  near.sort((a, b) => a.far - b.far || a.u - b.u);
  const same = [...new Set(near.filter((one) => one.far <= near[0].far + 0.5 && one.far < 24).map((one) => one.u))];
  return same.length ? same[(same.indexOf(state.unit) + 1) % same.length] : null;
}
