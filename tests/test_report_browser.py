"""The page of a report in a real Chromium: ``pytest -m browser``."""

import json
import re
import runpy
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import browser as start_browser
from traces import GRU, LSTM, direction_of

import gateprobe
from gateprobe.analysis.ledger import ledger
from gateprobe.errors import printable
from gateprobe.trace import Trace

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("chromium"), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
TEXTS = ["((a)(a(a)))a", "(((((())))))", "a(a)a(a)a(a)"]
PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True}
GUTTER, ROW, AXIS = 58, 30, 18  # in pixels; the axis is higher where there are tokens


@pytest.fixture(scope="module")
def chromium():
    with start_browser() as started:
        yield started


@pytest.fixture
def look(chromium, tmp_path):
    """Return what opens a trace's page; in the end, none of them has complained or asked for anything."""
    opened, said = [], []

    def view(trace, at="", *, viewport=None, scheme="light", context=None, **options):
        file = tmp_path / f"{len(opened)}.html"
        trace.report(file, **options)
        viewport = viewport or {"width": 1300, "height": 900}
        inside = chromium.new_context(color_scheme=scheme, **{"viewport": viewport, **(context or {})})
        page = inside.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: request.url.startswith(f"file://{file}") or said.append(request.url))
        page.goto(f"file://{file}{at}")
        opened.append(inside)
        return View(page)

    yield view
    for inside in opened:
        inside.close()
    assert said == []


class View:
    """A page with what a test asks of it."""

    def __init__(self, page):
        self.page = page

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def address(self):
        from urllib.parse import parse_qs, urlsplit

        return {key: value for key, (value,) in parse_qs(urlsplit(self.page.url).fragment).items()}

    def drawn(self, selector):
        """Return the picture on a canvas, when the next frame has been drawn."""
        code = f"""() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
            () => done(document.querySelector({selector!r}).toDataURL()))))"""
        return self.page.evaluate(code)

    @property
    def pictures(self):
        return [self.drawn(f"{name} canvas") for name in ("#heat", "#curves", "#ledger")] + [self.drawn("#scatter")]

    def pixels(self, places, strip="#heat"):
        """Return the colours at some places of a strip."""
        self.drawn(f"{strip} canvas")
        code = """([places, strip]) => {
            const seen = document.querySelector(`${strip} canvas`);
            const copy = new OffscreenCanvas(seen.width, seen.height).getContext('2d', { willReadFrequently: true });
            copy.drawImage(seen, 0, 0);
            return places.map(([x, y]) => [...copy.getImageData(x, y, 1, 1).data].slice(0, 3));
        }"""
        return self.page.evaluate(code, [[[round(float(x)), round(float(y))] for x, y in places], strip])

    def grid(self, timesteps, units):
        """Return the left upper corner of the first cell, and width and height of a cell."""
        size = self.page.evaluate(
            "() => { const s = document.querySelector('#heat > div:last-child').style; return [s.width, s.height] }"
        )
        width, height = (float(text.removesuffix("px")) for text in size)
        row = min(ROW, max(9, 340 / units))
        return GUTTER, height - units * row, (width - GUTTER - 2) / timesteps, row

    def colours(self, shape):
        """Return ``(timesteps, units, 3)``: the colour of each cell, beside a frame and its number."""
        x, y, width, height = self.grid(*shape)
        places = [[int(x + t * width + 4), int(y + u * height + 4)] for t in range(shape[0]) for u in range(shape[1])]
        return np.array(self.pixels(places)).reshape(*shape, 3)

    def click_cell(self, t, u, shape):
        x, y, width, height = self.grid(*shape)
        at = {"x": x + (t + 0.5) * width, "y": y + (u + 0.5) * height}
        self.page.locator("#heat canvas").click(position=at)

    def ledger(self):
        """Return what the table says: first column → last column, and all columns of timesteps."""
        rows = [row.split("\t") for row in self.text("#parts").split("\n")]
        return {row[0].strip(): [text.strip() for text in row[1:]] for row in rows[1:]}


@pytest.fixture(scope="module")
def brackets():
    return gateprobe.read(SAMPLES / "brackets.keras").trace(np.load(SAMPLES / "brackets.npy"))


@pytest.fixture(scope="module")
def tokens():
    return gateprobe.read(SAMPLES / "tokens.keras").trace(np.load(SAMPLES / "tokens.npy"))


def made(samples=3, timesteps=20, units=5, *, layer="lstm", direction="forward", masked=False, kind=LSTM, seed=0):
    """A trace whose states follow from its gates, as those of a real layer do."""
    rng = np.random.default_rng(seed)
    shape = (samples, timesteps, units)
    values = {name: rng.uniform(0, 1, shape) if name.endswith("gate") else rng.uniform(-1, 1, shape) for name in kind}
    values |= {"forget_gate": rng.uniform(0.6, 1, shape)} if "forget_gate" in kind else {}
    mask = rng.random(shape[:2]) > 0.3 if masked else None
    state = np.zeros((samples, units))
    order = range(timesteps) if direction == "forward" else reversed(range(timesteps))
    for t in order:
        now = {name: value[:, t] for name, value in values.items()}
        if kind is GRU:
            new = now["update_gate"] * state + (1 - now["update_gate"]) * now["candidate"]
        else:
            new = now["forget_gate"] * state + now["input_gate"] * now["candidate"]
        state = new if mask is None else np.where(mask[:, t, None], new, state)
        if kind is GRU:
            values["hidden_state"][:, t] = state
        else:
            values["cell_state"][:, t] = state
            values["hidden_state"][:, t] = now["output_gate"] * np.tanh(state)
    part = direction_of(layer, direction, {name: value.astype(np.float32) for name, value in values.items()}, mask)
    return Trace(np.arange(samples), (part,))


def rgb(text):
    return tuple(int(text[at : at + 2], 16) for at in (1, 3, 5))


def shown(value):
    size = abs(value)
    return f"{value:.4f}" if size == 0 or 0.5e-4 <= size < 1e5 else None


def readout(trace, sample, unit, timestep, signal):
    part = trace.directions[0]
    return f"unit {unit}, timestep {timestep}: {signal} {shown(float(part[signal][sample, timestep, unit]))}"


# what is drawn


def test_the_curves_pass_through_the_values(look):
    trace = made(units=3)
    part = trace.directions[0]
    view = look(trace, "#sample=1&layer=lstm&direction=forward&unit=2&timestep=0")
    left, _, width, _ = view.grid(20, 3)
    places = []
    for row, name in enumerate(LSTM):
        limit = 1 if name.endswith("gate") else 2 * np.abs(part[name][..., 2]).max()
        share = part[name][1, :, 2] / limit + (0 if name.endswith("gate") else 0.5)
        places += [[left + (t + 0.5) * width, AXIS + 62 * row + 16 + 40 * (1 - share[t])] for t in range(20)]
    accent = view.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()")
    assert {tuple(colour) for colour in view.pixels(places, "#curves")} == {rgb(accent)}


def test_the_text_has_the_colours_of_the_cells(look, brackets):
    view = look(brackets, tokens=list(map(list, TEXTS)))
    colours = view.page.locator("#text .token").evaluate_all("all => all.map(one => one.style.backgroundColor)")
    found = [list(map(int, re.findall(r"\d+", colour))) for colour in colours]
    np.testing.assert_array_equal(found, view.colours((12, 2))[:, 0])


def test_the_bars_of_the_ledger_show_what_is_left(look):
    trace = made(units=2)
    part = trace.directions[0]
    view = look(trace, "#sample=0&layer=lstm&direction=forward&unit=1&timestep=19")
    expected = ledger(part, 0, 19)
    left, written = expected.contribution[:, 1], expected.written[:, 1]
    most = max(np.abs(written))
    x, _, width, _ = view.grid(20, 2)
    middle = AXIS + 55
    large = [t for t in range(20) if abs(left[t]) / most * 47 > 4]
    assert len(large) > 1
    inside = [[x + (t + 0.5) * width, middle - left[t] / most * 47 + 2 * np.sign(left[t])] for t in large]
    beyond = [[x + (t + 0.5) * width, middle - left[t] / most * 47 - 2 * np.sign(left[t])] for t in large]
    for t, (red, _, blue), empty in zip(
        large, view.pixels(inside, "#ledger"), view.pixels(beyond, "#ledger"), strict=True
    ):
        assert (red > blue) == (left[t] > 0), t
        assert abs(red - blue) > 40
        assert max(empty) - min(empty) < 40, t


def test_each_unit_may_have_a_scale_of_its_own(look):
    trace = made(units=3)
    trace.directions[0].cell_state[..., 0] *= 100
    view = look(trace, "#layer=lstm&direction=forward&unit=1&timestep=0")
    before = view.colours((20, 3))
    view.page.select_option("#scale", "unit")
    limit = np.abs(trace["lstm"].cell_state[..., 1]).max()
    assert view.text("#legend").split() == [f"{-limit:.2f}", f"{limit:.2f}"]
    after = view.colours((20, 3))
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    strength = [np.abs(colours[:, 1].astype(int) @ (1, 0, -1)).mean() for colours in (before, after)]
    assert strength[1] > strength[0] + 30


def test_numbers_are_those_of_the_run(look):
    """A selection keeps the numbers of its samples, timesteps and units."""
    whole = made(samples=9, timesteps=12, units=6).directions[0]
    signals = {name: value[[4, 7], 3:9][..., [1, 5]] for name, value in whole.signals.items()}
    part = replace(whole, signals=signals, timesteps=np.arange(3, 9), units=np.array([1, 5]))
    view = look(Trace(np.array([4, 7]), (part,)), "#sample=7&layer=lstm&direction=forward&unit=5&timestep=4")
    assert view.text("#readout") == f"unit 5, timestep 4: cell_state {shown(float(whole.cell_state[7, 4, 5]))}"
    view.page.fill("#from", "3")
    view.page.fill("#to", "5")
    assert "at timesteps 3 to 5 of sample 7" in view.text("#found")
    assert view.address["stretch"] == "3-5"


def test_the_pointer_shows_what_is_under_it(look):
    trace = made()
    view = look(trace)
    x, y, width, height = view.grid(20, 5)
    view.page.locator("#heat canvas").hover(position={"x": x + 3.5 * width, "y": y + 2.5 * height})
    assert view.text("#tip") == f"unit 2, timestep 3: {shown(float(trace['lstm'].cell_state[0, 3, 2]))}"
    view.page.locator("#found").hover()
    assert not view.page.locator("#tip").is_visible()


def test_a_window_of_another_size(look):
    view = look(made(), viewport={"width": 1300, "height": 900})
    before = view.grid(20, 5)
    view.page.set_viewport_size({"width": 700, "height": 900})
    view.page.wait_for_function("document.querySelector('#heat canvas').clientWidth < 680")
    assert view.grid(20, 5)[2] < before[2]
    assert view.page.evaluate("document.documentElement.scrollWidth") == 700


def test_the_counting_unit_is_seen(look, brackets):
    """Blue below zero, orange above; and as strong as the value is large."""
    view = look(brackets, tokens=list(map(list, TEXTS)))
    values = brackets["lstm"].cell_state[0]
    colours = view.colours((12, 2))
    far = abs(values) > 0.3
    np.testing.assert_array_equal((colours[..., 0] > colours[..., 2])[far], (values > 0)[far])
    below = np.sort(values[values < 0])
    reds = [colours[..., 0][values == value][0] for value in below]
    assert reds == sorted(reds), "the lower a value, the darker its blue"
    assert view.text("#readout") == "unit 0, timestep 11 “a”: cell_state -0.9480"
    assert view.text("#text").replace("\n", "") == TEXTS[0]


def test_gates_get_lighter_from_0_to_1(look):
    trace = made(units=6)
    view = look(trace, "#layer=lstm&direction=forward&signal=input_gate&unit=5&timestep=19")
    values = trace["lstm"].input_gate[0]
    light = view.colours((20, 6)) @ (0.2126, 0.7152, 0.0722)
    ordered = light.ravel()[np.argsort(values.ravel())]
    assert np.all(np.diff(ordered) > -2)
    assert ordered[-1] - ordered[0] > 120
    assert view.text("#legend").split() == ["0.00", "1.00"]


def test_gates_beyond_0_and_1_have_a_scale_that_says_so(look):
    trace = made()
    part = trace.directions[0]
    part.forget_gate[0, 3, 2] = 1.75
    view = look(trace, "#layer=lstm&direction=forward&signal=forget_gate")
    assert view.text("#legend").split() == ["-1.75", "1.75"]


def test_masked_timesteps_are_grey(look, tokens):
    view = look(tokens, "#layer=bidirectional&direction=forward&sample=1&signal=forget_gate&unit=0&timestep=7")
    mask = tokens["bidirectional"].forward.mask[1]
    assert not mask.all()
    colours = view.colours((8, 4))
    np.testing.assert_array_equal(np.ptp(colours, axis=-1) < 15, np.repeat(~mask[:, None], 4, axis=1))
    assert view.text("#readout") == "unit 0, timestep 7: forget_gate masked: not used"
    assert "masked" in view.text("#legend")
    view.page.select_option("#signal", "cell_state")
    value = tokens["bidirectional"].forward.cell_state[1, 7, 0]
    assert view.text("#readout") == f"unit 0, timestep 7: cell_state {value:.4f}, carried through a masked timestep"


def test_numbers_that_are_none(look):
    trace = made(units=2)
    part = trace.directions[0]
    part.cell_state[0, 3, 0], part.cell_state[0, 4, 0], part.cell_state[0, 5, 0] = np.nan, np.inf, -np.inf
    part.cell_state[0, 6, 0] = 3e38
    part.cell_state[0, 7, 0] = -3e38
    view = look(trace, "#layer=lstm&direction=forward&unit=0&timestep=3")
    assert view.text("#readout").endswith("cell_state not a number")
    assert "not a number" in view.text("#legend")
    assert "-3.00e+38" in view.text("#legend")
    view.page.locator("#heat").focus()
    for words in ("infinite", "minus infinite", "3.00e+38", "-3.00e+38"):
        view.press("ArrowRight")
        assert view.text("#readout").endswith(f"cell_state {words}")


def test_pixels_with_masks_of_their_own(look):
    """A ConvLSTM over two pixels with three filters; the first pixel is masked at the second timestep."""
    mask = np.ones((1, 2, 2, 1), np.bool_)
    mask[0, 1, 0, 0] = False
    values = {name: np.full((1, 2, 2, 1, 3), 0.9, np.float32) for name in LSTM}
    view = look(
        Trace(np.arange(1), (direction_of("conv", "forward", values, mask),)),
        "#layer=conv&direction=forward&timestep=0",
    )
    grey = np.ptp(view.colours((2, 6)), axis=-1) < 15
    assert grey.tolist() == [[False] * 6, [True] * 3 + [False] * 3]


def test_values_below_zero_alone(look):
    part = direction_of("lstm", "forward", {"cell_state": -np.arange(1, 7, dtype=np.float32).reshape(1, 3, 2)})
    view = look(Trace(np.arange(1), (part,)))
    assert view.text("#legend").split() == ["-6.00", "6.00"]


def test_timesteps_and_tokens_stand_above_the_cells(look, brackets):
    views = [look(brackets), look(brackets, tokens=[["M"] * 12] * 3)]
    for view, lines in zip(views, ([9], [9, 27]), strict=True):
        left, _, width, _ = view.grid(12, 2)
        for line in lines:
            for t in range(12):
                around = [[left + (t + 0.5) * width + dx, line + dy] for dx in range(-6, 7) for dy in range(-5, 6)]
                assert len({tuple(colour) for colour in view.pixels(around)}) > 5, (line, t)


def test_all_values_alike(look):
    part = direction_of("lstm", "forward", {name: np.zeros((1, 3, 2), np.float32) for name in LSTM})
    view = look(Trace(np.arange(1), (part,)))
    assert view.text("#legend").split() == ["-1.00", "1.00"]
    assert shown(0.0) in view.text("#readout")


# controls


def test_every_control_changes_the_picture(look):
    one, two = made(masked=True).directions[0], made(timesteps=9, units=3, layer="gru", kind=GRU).directions[0]
    back = made(direction="backward", seed=5).directions[0]
    view = look(Trace(np.arange(3), (one, back, two)), tokens=None)
    before = view.pictures
    for change, what in [
        (lambda: view.page.select_option("#sample", "2"), {"sample": "2"}),
        (lambda: view.page.click("#previous"), {"sample": "1"}),
        (lambda: view.page.click("#next"), {"sample": "2"}),
        (lambda: view.page.select_option("#signal", "hidden_state"), {"signal": "hidden_state"}),
        (lambda: view.page.select_option("#direction", label="backward"), {"direction": "backward"}),
        (lambda: view.page.select_option("#scale", "unit"), {}),
        (lambda: view.page.click("#wider"), {}),
        (lambda: view.page.click("#narrower"), {}),
        (lambda: view.page.click("#theme"), {}),
        (lambda: view.page.select_option("#layer", label="gru"), {"layer": "gru", "direction": "forward"}),
        (lambda: view.click_cell(2, 1, (9, 3)), {"timestep": "2", "unit": "1"}),
        (lambda: view.page.select_option("#signal", "update_gate"), {"signal": "update_gate"}),
        (lambda: view.page.select_option("#layer", label="lstm"), {"signal": "cell_state", "unit": "1"}),
    ]:
        change()
        after = view.pictures
        assert after[0] != before[0], what
        assert view.address.items() >= what.items()
        before = after


def test_a_click_selects_a_cell_everywhere(look):
    trace = made()
    view = look(trace)
    before = view.pictures
    view.click_cell(7, 3, (20, 5))
    assert view.text("#readout") == readout(trace, 0, 3, 7, "cell_state")
    assert all(a != b for a, b in zip(before, view.pictures, strict=True))
    values = dict(line.split("\n") for line in re.findall(r"\w+\n-?[\d.]+", view.text("#values")))
    assert values == {name: shown(float(trace["lstm"][name][0, 7, 3])) for name in LSTM}
    assert "Unit 3" in view.text("#curves-title")


def test_arrow_keys_move_the_selected_cell(look):
    trace = made(timesteps=30, units=25)
    view = look(trace, "#layer=lstm&direction=forward&unit=0&timestep=0")
    view.page.locator("#heat").focus()
    for keys, unit, timestep in [
        (["ArrowRight", "ArrowRight"], 0, 2),
        (["ArrowDown"], 1, 2),
        (["End"], 1, 29),
        (["ArrowRight"], 1, 29),
        (["PageDown", "PageDown"], 21, 29),
        (["PageDown"], 24, 29),
        (["ArrowLeft", "ArrowUp"], 23, 28),
        (["PageUp", "Home"], 13, 0),
        (["ArrowLeft"], 13, 0),
    ]:
        view.press(*keys)
        assert view.text("#readout") == readout(trace, 0, unit, timestep, "cell_state")


def test_the_selected_cell_is_kept_in_view(look):
    view = look(made(timesteps=900, units=120), "#layer=lstm&direction=forward&unit=0&timestep=0")
    view.page.locator("#heat").focus()
    view.press("End", *["PageDown"] * 12)
    seen = view.page.evaluate("""() => {
        const [h, c] = [document.getElementById('heat'), document.getElementById('curves')];
        return [h.scrollLeft + h.clientWidth >= h.scrollWidth - 5, h.scrollTop + h.clientHeight >= h.scrollHeight - 5,
                c.scrollLeft === h.scrollLeft] }""")
    assert seen == [True, True, True]
    before = view.drawn("#curves canvas")
    view.page.evaluate("document.getElementById('ledger').scrollLeft = 100")
    assert view.drawn("#curves canvas") != before, "time moves in all strips"


def test_everything_can_be_reached_with_the_tab_key(look, brackets):
    view = look(brackets, tokens=list(map(list, TEXTS)))
    found = []
    for _ in range(60):
        view.press("Tab")
        id_, outline, name = view.page.evaluate(
            """() => { const e = document.activeElement; const s = getComputedStyle(e);
               return [e.id || e.closest('[id]')?.id || '', s.outlineStyle, e.tagName] }"""
        )
        if name == "BODY":
            break
        assert outline != "none", id_
        found.append(id_)
    order = ["theme", "sample", "next", "signal", "scale", "narrower", "wider", "heat", "search-signal", "threshold",
             "from", "to", "either", "order", "contexts"]  # fmt: skip
    assert [found.index(name) for name in order] == sorted(found.index(name) for name in order)
    assert "previous" not in found, "there is none before the first sample"


def test_screen_readers_hear_names_and_values(look, brackets):
    view = look(brackets, tokens=list(map(list, TEXTS)))
    tree = view.page.locator("body").aria_snapshot()
    for text in (
        'combobox "Sample"', 'button "Previous sample" [disabled]', 'combobox "Signal"', 'spinbutton "Above"',
        'status: "unit 0, timestep 11 “a”: cell_state -0.9480"', 'heading "Find units"',
        'button "4.0923, sample 1, timestep 5, “(”"', 'application "Heat map of units over time.',
    ):  # fmt: skip
        assert text in tree, text


# what is measured


@pytest.mark.parametrize(("options", "sample", "unit", "timestep"), [
    ({}, 0, 0, 19), ({}, 2, 3, 0), ({}, 1, 4, 7), ({"masked": True}, 1, 2, 15), ({"masked": True, "seed": 3}, 0, 2, 1),
    ({"direction": "backward"}, 1, 1, 2), ({"direction": "backward", "masked": True}, 2, 0, 0),
    ({"kind": GRU}, 0, 1, 9), ({"kind": GRU, "direction": "backward", "masked": True}, 1, 1, 4),
])  # fmt: skip
def test_the_ledger_is_that_of_the_analysis(look, options, sample, unit, timestep):
    trace = made(**options)
    part = trace.directions[0]
    where = f"sample={sample}&layer=lstm&direction={part.direction}&unit={unit}&timestep={timestep}"
    view = look(trace, f"#{where}")
    expected = ledger(part, sample, timestep)
    found = view.ledger()
    listed = [key for key in found if key.isdigit()]
    assert len(listed) == min(8, len(expected.written_at))
    for t, written, kept, left in zip(
        expected.written_at,
        expected.written[:, unit],
        expected.kept[:, unit],
        expected.contribution[:, unit],
        strict=True,
    ):
        if str(t) in listed:
            _, *numbers = found[str(t)]
            assert np.allclose(list(map(float, numbers)), [written, kept, left], rtol=6e-3, atol=5e-5), t
    sizes = sorted(abs(expected.contribution[:, unit]), reverse=True)
    assert [abs(float(found[t][-1])) for t in listed] == pytest.approx(sizes[:8], rel=6e-3, abs=6e-5)
    others = float(found[f"{len(sizes) - 8} others"][-1]) if len(sizes) > 8 else 0
    total = sum(float(found[t][-1]) for t in listed) + others + float(found["initial state"][-1])
    assert total == pytest.approx(expected.value[unit], abs=6e-4)
    assert float(found[expected.state][-1]) == pytest.approx(expected.value[unit], abs=6e-5)
    assert abs(float(found["rounding"][-1])) < 1e-5


def test_the_ledger_of_the_counting_unit(look, brackets):
    """At the deepest place of ((((( the opening brackets are what is remembered."""
    view = look(brackets, "#sample=1&layer=lstm&direction=forward&unit=0&timestep=5", tokens=list(map(list, TEXTS)))
    found = view.ledger()
    parts = {int(key): float(row[-1]) for key, row in found.items() if key.isdigit()}
    assert {found[str(t)][0] for t in parts} == {"("}
    assert sum(parts.values()) == pytest.approx(brackets["lstm"].cell_state[1, 5, 0], abs=1e-3)
    assert sum(value > 0.3 for value in parts.values()) >= 4
    assert found["initial state"][-1] == "0.0000"


def test_an_initial_state_is_a_part(look):
    model = gateprobe.read(SAMPLES / "translate.keras")
    trace = model.trace([np.load(SAMPLES / "translate_source.npy"), np.load(SAMPLES / "translate_target.npy")])
    view = look(trace, "#sample=2&layer=decoder&direction=forward&unit=3&timestep=1")
    expected = ledger(trace["decoder"].forward, 2, 1)
    assert abs(expected.initial[3]) > 1e-3
    assert float(view.ledger()["initial state"][-1]) == pytest.approx(expected.initial[3], abs=6e-5)


def test_a_trace_that_begins_later_has_what_was_before(look, brackets):
    model = gateprobe.read(SAMPLES / "brackets.keras")
    trace = model.trace(np.load(SAMPLES / "brackets.npy"), timesteps=slice(4, 12))
    found = look(trace, "#sample=0&layer=lstm&direction=forward&unit=0&timestep=9").ledger()
    expected = ledger(trace["lstm"].forward, 0, 9)
    assert float(found["before timestep 4"][-1]) == pytest.approx(expected.initial[0], abs=6e-5)


@pytest.mark.parametrize(("options", "reason"), [
    ({"signals": ["c", "h"]}, "needs input_gate, forget_gate, candidate, cell_state; this trace has cell_state"),
    ({"timesteps": "0,2:6"}, "needs every timestep"),
])  # fmt: skip
def test_where_there_is_no_ledger(look, options, reason):
    trace = gateprobe.read(SAMPLES / "brackets.keras").trace(np.load(SAMPLES / "brackets.npy"), **options)
    view = look(trace)
    assert reason in view.text("#ledger-sum")
    assert not view.page.locator("#ledger").is_visible()


def test_states_that_do_not_follow_from_the_gates_are_not_called_rounding(look):
    trace = made()
    trace.directions[0].cell_state[0, 8:] += 1
    found = look(trace, "#layer=lstm&direction=forward&unit=0&timestep=9").ledger()
    assert "rounding" not in found
    assert abs(float(found["not explained by the gates"][-1])) > 0.1


def test_a_layer_without_gates(look):
    part = direction_of("rnn", "forward", {"hidden_state": made().directions[0].hidden_state})
    view = look(Trace(np.arange(3), (part,)))
    assert "SimpleRNN has no ledger" in view.text("#ledger-sum")
    assert view.text("#saturation") == "This layer's trace holds no gates."
    assert not view.page.locator("#scatter").is_visible()


def test_saturation_is_counted_over_all_samples(look, tokens):
    view = look(tokens, "#layer=bidirectional&direction=backward&unit=2")
    part = tokens["bidirectional"].backward
    for name in ("input_gate", "forget_gate", "output_gate"):
        used = part[name][part.mask][:, 2]
        low, high = (100 * np.mean(used < np.float32(0.1)), 100 * np.mean(used > np.float32(0.9)))
        assert f"{name} {low:.1f}% below 0.1, {high:.1f}% above 0.9" in view.text("#saturation")


def test_a_mark_of_the_scatter_chooses_its_unit(look):
    trace = made(units=4, samples=1)
    part = trace.directions[0]
    for name in ("input_gate", "forget_gate", "output_gate"):
        part[name][:] = 0.5
    part.forget_gate[:, :, 3] = 0.99  # always above 0.9: the mark in the upper left corner
    view = look(trace)
    box = view.page.locator("#scatter").bounding_box()
    view.page.locator("#scatter").click(position={"x": 52, "y": 10})
    assert view.address["unit"] == "3"
    corner = {"x": 52, "y": box["height"] - 34}  # all other marks: each click goes on to the next unit
    units = []
    for _ in range(5):
        view.page.locator("#scatter").click(position=corner)
        units.append(view.address["unit"])
    assert units == ["0", "1", "2", "3", "0"]


# contexts


@pytest.mark.parametrize(("order", "pick"), [("highest", np.argmax), ("lowest", np.argmin)])
def test_the_first_context_is_the_extreme_of_all_samples(look, order, pick):
    trace = made(samples=6, masked=True)
    part = trace.directions[0]
    view = look(trace, "#layer=lstm&direction=forward&unit=2&signal=hidden_state")
    view.page.select_option("#order", order)
    values = np.where(part.mask, part.hidden_state[..., 2], np.nan)
    usable = np.where(np.isnan(values), -np.inf if order == "highest" else np.inf, values)
    sample, t = np.unravel_index(pick(usable), usable.shape)
    first = view.page.locator("#contexts button").first
    assert first.get_attribute("aria-label") == f"{shown(float(values[sample, t]))}, sample {sample}, timestep {t}"
    places = [tuple(map(int, re.findall(r"sample (\d+), timestep (\d+)", text)[0])) for text in
              view.page.locator("#contexts button").evaluate_all("all => all.map(one => one.ariaLabel)")]  # fmt: skip
    assert len(places) == 10
    assert not [(a, b) for a in places for b in places if a != b and a[0] == b[0] and abs(a[1] - b[1]) <= 4]
    first.click()
    assert view.address["sample"], view.address["timestep"] == (str(sample), str(t))
    assert view.page.locator("#contexts button").first.get_attribute("aria-pressed") == "true"


def test_contexts_show_their_tokens(look, brackets):
    view = look(brackets, tokens=list(map(list, TEXTS)))
    snippet = view.page.locator("#contexts button .snippet").first
    assert snippet.inner_text().replace("\n", "") == TEXTS[1]
    assert snippet.locator(".here").inner_text() == TEXTS[1][5]


# the search


def test_the_counting_unit_is_found(look, brackets):
    """Where (((((()))))) is deepest, and nowhere else, unit 0 is above 2."""
    view = look(brackets, "#sample=1&layer=lstm&direction=forward&unit=1&timestep=0", tokens=list(map(list, TEXTS)))
    deep = np.flatnonzero(brackets["lstm"].cell_state[1, :, 0] > 2)
    assert deep.tolist() == list(range(deep[0], deep[-1] + 1))
    view.page.fill("#threshold", "2")
    view.page.fill("#from", str(deep[0]))
    view.page.fill("#to", str(deep[-1]))
    assert view.text("#found").startswith(
        f"1 unit has cell_state above 2 at timesteps {deep[0]} to {deep[-1]} of sample 1 and nowhere else in it"
    )
    first = view.page.locator("#results button").first
    assert first.inner_text().replace("\n", " ").startswith("✓ unit 0 12 of 12 timesteps fit; gap ")
    first.click()
    assert view.address["unit"] == "0"
    assert view.page.locator("#results button").first.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("either", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_what_a_loop_finds(look, seed, either):
    trace = made(timesteps=4, units=60, seed=seed, masked=True)
    part = trace.directions[0]
    view = look(trace, "#sample=1&layer=lstm&direction=forward")
    view.page.select_option("#search-signal", "hidden_state")
    view.page.fill("#threshold", "0.05")
    view.page.fill("#from", "1")
    view.page.fill("#to", "2")
    view.page.set_checked("#either", either)
    used = np.flatnonzero(part.mask[1])
    exact = set()
    for unit in range(60):
        for sign in (1, -1) if either else (1,):
            values = sign * part.hidden_state[1, :, unit]
            if all((values[t] > 0.05) == (1 <= t <= 2) for t in used):
                exact.add(f"{unit}{' (negative)' if sign < 0 else ''}")
    found = view.page.locator("#results button").evaluate_all("all => all.map(one => one.innerText)")
    ticked = {re.match(r"✓ unit (\d+(?: \(negative\))?)", text)[1] for text in found if text.startswith("✓")}
    assert len(found) == 12
    assert ticked <= exact
    assert len(ticked) == min(12, len(exact))
    count = {0: "No unit has", 1: "1 unit has"}.get(len(exact), f"{len(exact)} units have")
    assert view.text("#found").startswith(count)


def test_a_stretch_is_dragged_or_chosen_with_shift(look):
    view = look(made(), "#layer=lstm&direction=forward&timestep=4")
    x, y, width, height = view.grid(20, 5)
    box = view.page.locator("#heat canvas").bounding_box()
    left, top = box["x"] + x + width / 2, box["y"] + y + height / 2
    before = view.drawn("#heat canvas")
    view.page.mouse.move(left + 9 * width, top)
    view.page.mouse.down()
    view.page.mouse.move(left + 6 * width, top, steps=5)
    view.page.mouse.up()
    assert (view.page.input_value("#from"), view.page.input_value("#to")) == ("6", "9")
    assert view.drawn("#heat canvas") != before
    assert view.address["timestep"] == "4", "dragging selects no cell"
    view.page.locator("#heat").focus()
    view.press("Escape", "Home", "Shift+ArrowRight", "Shift+ArrowRight")
    assert view.address["stretch"] == "0-2"
    view.press("Shift+ArrowLeft")
    assert view.address["stretch"] == "0-1"
    view.press("End", "Shift+ArrowLeft", "Shift+ArrowLeft")
    assert view.address["stretch"] == "17-19"


@pytest.mark.parametrize(("changes", "says"), [
    ({"#from": "5", "#to": "2"}, "Type timesteps from 0 to 19, the first one first."),
    ({"#from": "5", "#to": "99"}, "Type timesteps from 0 to 19"), ({"#from": "1.5", "#to": "3"}, "Type timesteps"),
    ({"#from": "", "#to": ""}, "Drag over timesteps"),
    ({"#from": "1", "#to": "2", "#threshold": ""}, "Type a threshold."),
])  # fmt: skip
def test_what_cannot_be_searched(look, changes, says):
    view = look(made())
    for name, text in changes.items():
        view.page.fill(name, text)
    assert view.text("#found").startswith(says)
    assert view.page.locator("#results button").count() == 0


# where it comes from


EVIL = [
    "</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "javascript:alert(1)",
    "<!--<script>", "${window.hacked = 1}", "__proto__", "constructor", "\u202egnp.exe", "a\nb", "&lt;b&gt;", "",
]  # fmt: skip


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_names_run_nothing(look, evil, tmp_path):
    trace = made(samples=1, timesteps=4, units=2, layer=evil)
    said = {
        "format": 1, "status": "agrees", "keras": evil, "file": evil, "signals": [], "notes": [evil],
        "problems": [evil], "inputs": [{"description": evil}],
    }  # fmt: skip
    (tmp_path / "v.json").write_text(json.dumps(said))
    metadata = {"model": {"file": evil, "sha256": evil}, "notes": [evil], "layers": [{"path": evil, "class": evil}],
                "era": evil, "options": {evil: evil}, "inputs": {evil: evil}}  # fmt: skip
    view = look(replace(trace, metadata=metadata), tokens=[[evil] * 4], verification=tmp_path / "v.json")
    view.click_cell(1, 1, (4, 2))
    view.page.fill("#from", "1")
    view.page.fill("#to", "2")
    assert view.page.evaluate("window.hacked") is None
    assert view.page.locator("script").count() == 2
    assert view.page.locator("img, b").count() == 0
    assert view.page.evaluate("document.querySelector('#layer option').textContent") == printable(evil)
    assert view.page.evaluate("document.querySelector('#text .token').textContent") == (printable(evil) or "·")


def test_the_policy_is_in_force(chromium, brackets, tmp_path):
    brackets.report(tmp_path / "r.html")
    page = chromium.new_page()
    page.goto(f"file://{tmp_path / 'r.html'}")
    refused = page.evaluate("""async () => {
        const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.body.append(script);
        const styled = document.createElement('p');
        styled.setAttribute('style', 'position: fixed');
        document.body.append(styled);
        const asked = await fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'refused');
        return [window.hacked ?? null, getComputedStyle(styled).position, asked];
    }""")
    assert refused == [None, "static", "refused"]
    page.close()


def test_the_model_and_the_verdict(look, brackets, tmp_path):
    said = {
        "format": 1, "status": "disagrees", "keras": "keras 3.15.1", "file": "b.keras",
        "sha256": brackets.metadata["model"]["sha256"], "semantics": brackets.metadata["semantics"],
        "signals": [{"values": 10, "mismatches": 4}], "problems": ["the masks differ"],
    }  # fmt: skip
    (tmp_path / "v.json").write_text(json.dumps(said))
    view = look(brackets, verification=tmp_path / "v.json")
    assert view.text("#verdict") == "DISAGREES with Keras"
    assert "4 of 10 numbers in 1 signal differ from keras 3.15.1" in view.text("#verification")
    assert "the masks differ" in view.text("#verification")
    for text in (brackets.metadata["model"]["sha256"], brackets.metadata["semantics"], "lstm (LSTM)", "Keras 3.15.1"):
        assert text in view.text("#facts")
    assert not look(brackets).page.locator("#verdict").is_visible()


def test_what_is_left_out_is_said(look):
    view = look(made(samples=9), max_values=1300)
    assert view.text("#left-out") == "Shown: the first 2 of 9 samples. The page holds at most 1,300 values."
    assert view.page.locator("#sample option").count() == 2


# views


def test_a_view_can_be_kept(look):
    at = "#sample=2&layer=lstm&direction=forward&signal=candidate&unit=4&timestep=11&stretch=3-8"
    view = look(made(), at)
    assert view.page.url.endswith(at)
    assert (view.page.input_value("#from"), view.page.input_value("#to")) == ("3", "8")
    view.page.evaluate(f"location.hash = {at.replace('unit=4', 'unit=1')!r}")
    view.page.wait_for_function("document.getElementById('readout').textContent.startsWith('unit 1,')")


@pytest.mark.parametrize("at", [
    "#sample=99&layer=no&direction=up&signal=x&unit=-1&timestep=1e9&stretch=9-1",
    "#layer=lstm&signal=__proto__&stretch=-",
    "#%", "#layer=%3Cscript%3E&stretch=0-99999", "#heat",
])  # fmt: skip
def test_an_address_with_anything_in_it(look, at):
    trace = made()
    assert look(trace, at).text("#readout") == readout(trace, 0, 0, 19, "cell_state")


def test_dark_and_light(look):
    def background(view):
        return view.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    light, dark = look(made()), look(made(), scheme="dark")
    assert background(light) != background(dark)
    assert light.pictures[0] != dark.pictures[0]
    colours = [background(light), background(dark)]
    light.page.click("#theme")
    dark.page.click("#theme")
    assert [background(light), background(dark)] == colours[::-1]
    dark.page.click("#theme")
    assert background(dark) == colours[1]
    light.page.emulate_media(color_scheme="dark")
    assert background(light) == colours[1], "what was chosen stays"


def test_the_page_follows_the_system_until_a_theme_is_chosen(look):
    view = look(made())
    before = view.pictures
    view.page.emulate_media(color_scheme="dark")
    view.page.wait_for_function("document.getElementById('theme').textContent === 'Light'")
    assert all(a != b for a, b in zip(before, view.pictures, strict=True))


@pytest.mark.parametrize("units", [2, 200])
def test_a_phone(look, units, brackets):
    trace = brackets if units == 2 else made(samples=1, timesteps=60, units=units)
    words = list(map(list, TEXTS)) if units == 2 else [["remembered"] * 60]
    view = look(trace, "#layer=lstm&direction=forward&timestep=0", tokens=words, context=PHONE)
    assert view.page.evaluate("document.documentElement.scrollWidth") == 375
    for box in view.page.locator("button:visible, select:visible, input[type=number]:visible").all():
        place = box.bounding_box()
        assert place["x"] >= 0, box
        assert place["x"] + place["width"] <= 375, box
        assert place["height"] >= 40, box
    view.page.locator("#heat canvas").tap(position={"x": 60, "y": view.grid(1, units)[1] + 5 if units == 2 else 120})
    assert view.address["timestep"] in "01"
    assert "stretch" not in view.address, "a finger scrolls"


def test_two_hundred_thousand_values(look):
    trace = made(samples=2, timesteps=130, units=128)
    view = look(trace, "#layer=lstm&direction=forward&unit=0&timestep=0")
    view.page.locator("#heat").focus()
    view.press(*["ArrowRight"] * 40, *["ArrowDown"] * 40)
    assert view.text("#readout") == readout(trace, 0, 40, 40, "cell_state")
    assert not view.page.locator("#left-out").is_visible()


def test_the_pictures_of_the_docs_are_made_by_the_command(tmp_path, chromium):
    """Fonts differ between machines, so that lengths may, but not what there is to see."""
    made_now = runpy.run_path(ROOT / "docs" / "make_report_pictures.py")["make"]
    made_now(tmp_path, chromium)
    stored = {path.name: path for path in (ROOT / "docs").glob("report-*.png")}
    assert sorted(stored) == sorted(path.name for path in tmp_path.iterdir())
    for name, path in stored.items():
        (width, height), (wide, high) = (size_of(one) for one in (path, tmp_path / name))
        assert width == wide
        assert high == pytest.approx(height, rel=0.1)
        assert (tmp_path / name).stat().st_size == pytest.approx(path.stat().st_size, rel=0.3)


def size_of(png):
    """Return width and height, from the header of a PNG file."""
    return struct.unpack(">II", png.read_bytes()[16:24])
