// Ramps of colours between STOPS, which stand in gateprobe/pictures/colours.py.

const STEPS = 255;

function parsed(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

// A table of colours from the first stop to the last.
function ramp(stops) {
  const ends = stops.map(parsed);
  return Array.from({ length: STEPS + 1 }, (_, n) => {
    const place = (n / STEPS) * (ends.length - 1);
    const [before, after] = [ends[Math.floor(place)], ends[Math.min(Math.floor(place) + 1, ends.length - 1)]];
    return before.map((value, at) => Math.round(value + (after[at] - value) * (place % 1)));
  });
}

const RAMPS = { light: ramp(STOPS.light), dark: ramp(STOPS.dark), shares: ramp(STOPS.shares) };

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// The colours of the style sheet, asked for once for each theme.
const theme = new Map();
function variable(name) {
  if (!theme.has(name)) theme.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return theme.get(name);
}

// What a signal's values look like: gates from 0 to 1; everything else, and gates that leave that range, around zero.
function scaleOf(part, name, unit = null) {
  const [low, high] = part.range(name, unit);
  const [least, most] = part.range(name);
  const shares = GATES.includes(name) && least >= 0 && most <= 1;
  const limit = Math.max(-low, high) || 1;
  return shares
    ? { low: 0, high: 1, colours: RAMPS.shares }
    : { low: -limit, high: limit, colours: isDark() ? RAMPS.dark : RAMPS.light };
}

function colourOf(scale, value) {
  const share = (value / 2 - scale.low / 2) / (scale.high / 2 - scale.low / 2); // halves: no overflow
  return scale.colours[Math.round(STEPS * Math.min(1, Math.max(0, share)))];
}

function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

// Black or white, whichever is read more easily on a colour (WCAG's relative luminance).
function inkOn(colour) {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}
