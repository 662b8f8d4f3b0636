"""What other programs call the signals of recurrent layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateprobe.errors import InputError, ReadError, by_word, choices
from gateprobe.traces.foreign import Written
from gateprobe.traces.words import EITHER, OTHERS, in_full

_DIRECTIONS = by_word({"forward": "forward fw fwd forwards", "backward": "backward bw bwd backwards rev"})
_NUMBERED = re.compile(r"(?P<stem>.*?\D)[\s_.:\-]*[\[({]?(?P<unit>\d{1,7})[\])}]?")


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says."""

    signal: str
    unit: int | None = None
    layer: str | None = None
    direction: str | None = None


def read_name(text: str, mapping: Mapping[str, str]) -> Named | None:
    """Return what a column or an array holds, ``None`` when the name says nothing.

    Args:
        text: Such as ``forget_gate[3]``, ``i_0``, ``lstm_1/forward/c~`` or ``bw_h2``.
        mapping: The user's words → ours, which come first.
    """
    match = _NUMBERED.fullmatch(text.strip())
    readings: list[tuple[str, int | None]] = [(text.strip(), None)]
    if match is not None:
        readings.append((match["stem"].rstrip(" _.:-"), int(match["unit"])))
        readings.append((match["stem"], int(match["unit"])))
    for stem, unit in readings:
        found = _mapped(stem, mapping) or _parsed(stem, mapping)
        if found is not None:
            return Named(found.signal, unit, found.layer, found.direction)
    return None


def _mapped(stem: str, mapping: Mapping[str, str]) -> Named | None:
    ours = mapping.get(stem)
    if ours is None:
        return None
    found = _parsed(ours, {})
    if found is None:
        return None if "/" not in ours and ours not in OTHERS else found
    return found


def _parsed(stem: str, mapping: Mapping[str, str]) -> Named | None:
    """Take layer, direction and signal apart."""
    for separator in ("/", ".", ":"):
        *path, last = stem.split(separator)
        if path:
            inner = _plain(last, mapping)
            if inner is not None:
                return _placed(path, inner, separator, mapping)
    return _plain(stem, mapping)


def _placed(path: list[str], inner: Named, separator: str, mapping: Mapping[str, str]) -> Named:
    direction = _DIRECTIONS.get(path[-1].lower())
    layer = separator.join(path[:-1] if direction else path) or None
    layer = mapping.get(layer, layer) if layer else None
    return Named(inner.signal, None, layer, direction or inner.direction)


def _plain(word: str, mapping: Mapping[str, str]) -> Named | None:
    """Read a name without a layer; a word for a direction may stand at either end of it."""
    if word in mapping:
        return _mapped(word, mapping)
    lower = re.sub(r"[\s\-]+", "_", word.strip().lower()).replace("c̃", "c_tilde").strip("_")
    pre = lower.startswith("pre_")
    name = OTHERS.get(lower.removeprefix("pre_"))
    if name is not None:
        return Named(f"pre_{name}" if pre else name)
    first, _, rest = lower.partition("_")
    front, _, last = lower.rpartition("_")
    for way, other in ((first, rest), (last, front)):
        if way in _DIRECTIONS and other in OTHERS:
            return Named(OTHERS[other], direction=_DIRECTIONS[way])
    return None


def settled(written: Iterable[Written]) -> list[Written]:
    """Say what ``z`` is, where other signals of the same file show it."""
    found = list(written)
    there = {one.signal for one in found}
    if "reset_gate" in there:
        meant = "update_gate"
    elif there & {"input_gate", "forget_gate", "output_gate", "cell_state"}:
        meant = "candidate"
    else:
        return found
    return [replace(one, signal=meant) if one.signal == EITHER else one for one in found]


def read_mapping(texts: Iterable[str]) -> dict[str, str]:
    """Read ``THEIRS=OURS``.

    Args:
        texts: OURS is a signal or its letter, perhaps behind a layer and a direction: ``lstm_1/forward/f``; or the path
            of a layer, where THEIRS is what the file calls that.

    Raises:
        InputError: A text is none of these.
    """
    found = {}
    for text in texts:
        theirs, equals, ours = text.rpartition("=")
        if not equals or not theirs or not ours:
            raise InputError(f"--map={text}: expected THEIRS=OURS, such as gate1=forget_gate")
        if theirs in found:
            raise InputError(f"--map={text}: {theirs!r} is mapped twice")
        last = ours.rpartition("/")[2]
        found[theirs] = f"{ours[: len(ours) - len(last)]}{in_full(last)}"
    return found


def check_mapping(mapping: Mapping[str, str], used: Iterable[str], layers: Iterable[str] = ()) -> None:
    """Refuse words that the file does not have.

    Raises:
        InputError: Lists those that it has.
    """
    names = list(used)
    stems = [match["stem"].rstrip(" _.:-") for name in names if (match := _NUMBERED.fullmatch(name)) is not None]
    labels = [part for name in names for part in _prefixes(name)]
    there = list(dict.fromkeys([*names, *stems, *labels, *layers]))
    for theirs in mapping:
        if theirs not in there:
            raise InputError(
                f"--map={theirs}={mapping[theirs]}: nothing is called {theirs!r}",
                remedy=choices(dict.fromkeys([*stems, *names]), theirs),
            )


def _prefixes(name: str) -> list[str]:
    parts = re.split(r"[/.:]", name)
    return [*parts, *("/".join(parts[:n]) for n in range(1, len(parts)))]


def nameless(names: Sequence[str]) -> ReadError:
    """Return the error for names of which none is that of a signal."""
    listed = ", ".join(names[:8])
    return ReadError(
        f"no name in it is that of a signal: {listed}",
        remedy="say what they are with --map THEIRS=OURS, such as --map gate1=forget_gate",
    )  # fmt: skip


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """Return what to say of names that say nothing."""
    return (f"not compared, since their names say nothing: {', '.join(names[:8])}",) if names else ()
