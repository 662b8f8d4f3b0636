"""What a container held, and how it becomes a `ModelGraph`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateprobe.errors import ReadError
from gateprobe.graph import Era, ModelGraph, ModelRecord, Origin, Stated, Vocabulary, WeightStore
from gateprobe.readers import contradictions, version, wiring
from gateprobe.readers.architecture import read_architecture
from gateprobe.readers.contradictions import EraVerdict
from gateprobe.readers.weights_only import WEIGHTS_ALONE
from gateprobe.readers.wiring import Wiring

_WHOLE = "write down the whole wiring, see docs/wiring.md"


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """A parsed ``model.to_json()``."""

    value: Any
    file: str
    sha256: str
    keras_version: str | None
    backend: str | None
    wiring: Wiring | None = None
    """When it is a wiring file of ours and not an architecture of Keras."""
    container: str = ""
    """That of a whole model, as in `gateprobe.graph.Origin`, where that matters."""
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    """Of a whole model: see `gateprobe.graph.ModelGraph`."""
    notes: tuple[str, ...] = ()
    """What the user should know of its container."""

    @property
    def stated(self) -> Mapping[str, Stated]:
        """What it says of single layers, when it leaves the architecture to the file."""
        return {} if self.wiring is None else self.wiring.stated


def refuse_second(given: Architecture | None) -> None:
    """Refuse an architecture beside a file that has one; a wiring file may say more of it.

    Raises:
        ReadError: One was given.
    """
    if given is not None and given.wiring is None:
        raise ReadError("has an architecture of its own", remedy="leave --architecture out")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a container held."""

    container: str
    value: Any
    """The architecture as JSON, ``None`` without one."""
    weights: WeightStore
    keras_version: str | None
    backend: str | None
    where: str
    """Where the version stands."""
    architecture: Architecture | None = None
    """The one given beside the file."""
    digests: tuple[str, ...] = ()
    """Of further files."""
    notes: tuple[str, ...] = ()
    """What the user should know of this container."""
    versions: tuple[tuple[str, str], ...] = ()
    """Further places in the file that give a version, and the versions."""
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    """See `ModelGraph`."""
    evidence: tuple[str, ...] = ()
    """Why the version is this one, where the file does not say so itself."""
    sorted_by: Callable[[ModelRecord], WeightStore] | None = None
    """Sorts the weights by the layers of a model, where the file has numbers for layers instead of names."""
    told: EraVerdict | None = None
    """The era that such a container tells without a version."""

    def graph(self, file: str, sha256: str) -> ModelGraph:
        """Put together what was found."""
        verdict = self._verdict()
        era, evidence, notes, rivals = verdict.era, verdict.evidence, verdict.notes, verdict.rivals
        model: ModelRecord | None = None
        store = self.weights
        stated = self.architecture.stated if self.architecture is not None else {}
        if stated and self.value is None:
            reason = "says what layers do, and the file does not say which it has"
            raise ReadError(reason, place="replace", remedy=_WHOLE)
        if self.architecture is not None and self.architecture.wiring is not None and not stated:
            model, store, more = self._wired(self.architecture.wiring)
            notes = (*notes, *more)
        elif self.architecture is not None and not stated:
            said = _dialect(self.architecture)
            dialect = era if said is None else said.era
            model, more = read_architecture(self.architecture.value, dialect)
            if model is not None and self.architecture.container == "savedmodel":
                model = wiring.adopted(model)
            notes = (*notes, *more, *_disagreement(dialect, era), *self.architecture.notes)
            if model is not None and self.sorted_by is not None:
                store = self.sorted_by(model)
            if said is not None and self.architecture.keras_version != self._version:
                evidence, notes = (*evidence, *said.evidence), (*notes, *said.notes)
        elif self.value is not None:
            model, more = read_architecture(self.value, era)
            if model is not None and self.container == "savedmodel":
                model = wiring.adopted(model)
            notes = (*notes, *more)
        else:
            notes = (*notes, WEIGHTS_ALONE)
        backend = self.backend or (self.architecture.backend if self.architecture else None)
        if backend is None and era is Era.KERAS1:  # which does not say
            backend, more = version.backend_of_names(self.weights)
            evidence = (*evidence, *more)
        origin = Origin(self.container, era, evidence, self._version, backend, rivals, sha256)
        left = () if model is None else tuple(contradictions.unreached(model))
        given = None if self.architecture is None or stated else self.architecture.file
        words = {**(self.architecture.vocabularies if self.architecture is not None else {}), **self.vocabularies}
        notes = (*notes, *left, *self.notes)
        return ModelGraph(file, origin, model, store, notes, words, architecture=given, stated=stated)

    @property
    def _version(self) -> str | None:
        return self.keras_version or (self.architecture.keras_version if self.architecture else None)

    def _wired(self, given: Wiring) -> tuple[ModelRecord, WeightStore, tuple[str, ...]]:
        """Connect the layers as a wiring file says."""
        model, notes = given.model()
        store, more = given.store(self.weights, model)
        own = () if self.value is None else ("the graph is that of the wiring file, not what this file says of itself",)
        return model, store, (*own, *notes, *more)

    def _verdict(self) -> EraVerdict:
        """Return the era of the numbers: of the Keras that saved the weights."""
        given = self.architecture
        if self.keras_version is not None:
            verdict = contradictions.weigh(self.keras_version, self.where, self.versions, self.value)
            return replace(verdict, evidence=self.evidence or verdict.evidence)
        if given is not None and given.keras_version is not None:
            config = None if given.wiring is not None else given.value
            place = f"the architecture {given.file}"
            return contradictions.weigh(given.keras_version, place, self.versions, config)
        if self.told is not None:
            return self.told
        value = self.value if given is None or given.wiring is not None else given.value
        inferred = (value and version.era_of_config(value)) or version.era_of_weights(self.weights)
        if inferred is None:
            raise ReadError("nothing in the file tells which Keras wrote it")
        era, sentence = inferred
        rivals = version.rivals_of(era, self.weights, value)
        return EraVerdict(era, ("no version is recorded", sentence), rivals=rivals)


def _dialect(given: Architecture) -> EraVerdict | None:
    """Return the era whose words an architecture uses."""
    if given.keras_version is not None:
        return contradictions.weigh(given.keras_version, f"the architecture {given.file}", (), given.value)
    inferred = version.era_of_config(given.value)
    return None if inferred is None else EraVerdict(inferred[0], (f"architecture: {inferred[1]}",))


def _disagreement(dialect: Era, era: Era) -> tuple[str, ...]:
    if dialect is era:
        return ()
    note = (
        f"the weights are from {era.value} and the architecture from {dialect.value}: activations are computed as in "
        f"{era.value}; choose otherwise with --semantics"
    )
    return (note,)
