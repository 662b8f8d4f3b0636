"""Takes a page of ``gateprobe report`` apart, without a browser and without the code that made it."""

import base64
import hashlib
import json
import struct
from html.parser import HTMLParser

import numpy as np


class Page(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.texts = {"script": [], "style": [], "title": []}
        self._open = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in self.texts:
            self._open = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self.texts[self._open][-1] += data

    @property
    def tags(self):
        return [tag for tag, _ in self.elements]

    @property
    def policy(self):
        """Directive → its sources, of the only policy."""
        (content,) = [
            attributes["content"]
            for tag, attributes in self.elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        return {name: values for name, *values in (part.split() for part in content.split(";"))}

    @property
    def payload(self):
        data, _ = self.texts["script"]
        return json.loads(data)


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def numbers(text, kind):
    """Decode an embedded array one number after the other: f, d, I or B, little-endian."""
    raw = base64.b64decode(text, validate=True)
    return [value for (value,) in struct.iter_unpack(f"<{kind}", raw)]


def signals(part):
    """Name → ``(samples, timesteps, units)``."""
    kind = {"float32": "f", "float64": "d"}[part["dtype"]]
    return {name: np.array(numbers(text, kind)).reshape(part["shape"]) for name, text in part["signals"]}


def masked(part):
    """``(samples, timesteps)`` or ``(samples, timesteps, units)`` of truth, or None."""
    if part["mask"] is None:
        return None
    shape = part["shape"] if part["mask_units"] else part["shape"][:2]
    return np.array(numbers(part["mask"], "B")).reshape(shape) == 1


def tokens(payload, part):
    """``(samples, timesteps)`` of texts, or None."""
    if part["tokens"] is None:
        return None
    listed = [payload["words"][number] for number in numbers(part["tokens"], "I")]
    return np.array(listed, object).reshape(part["shape"][:2]).tolist()
