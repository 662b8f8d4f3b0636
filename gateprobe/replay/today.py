"""What the words of a file mean, in plain English, and what today's Keras would make of the file.

Which words matter for a model, binding says: it asks a `Watched` semantics. What Keras 3 refuses is a table of rules
here, checked in the tests against Keras 3.15 itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateprobe.graph import Era, LayerRecord, ModelGraph, ModelRecord, Namespace, Origin, records_in, references
from gateprobe.layers.binding.registry import is_recurrent, kind_of
from gateprobe.replay.contested import Watched, has_masks
from gateprobe.semantics import Crop, DistributedMask, MaskedOutput, MergedMask, SamePadding, Semantics, semantics_of


@dataclass(frozen=True, slots=True)
class Words:
    """A rule of `Semantics` in plain words."""

    subject: str
    values: Mapping[Any, str]

    def of(self, value: object) -> str:
        """Return what follows the subject for a value."""
        return self.values.get(value, str(getattr(value, "value", value)))


_PLAIN: Mapping[str, Words] = {
    "hard_sigmoid_slope": Words(
        "hard_sigmoid(x) = clip(slope * x + 0.5, 0, 1) has the slope", {0.2: "0.2", 1 / 6: "1/6"}
    ),
    "recurrent_activation": Words("gates whose activation the file does not name use", {}),
    "conv_recurrent_activation": Words("gates of a ConvLSTM whose activation the file does not name use", {}),
    "gru_reset_after": Words(
        "a GRU that does not say reset_after applies its reset gate",
        {False: "before the recurrent product", True: "after the recurrent product"},
    ),
    "masked_output": Words(
        "at a masked timestep a recurrent layer returns",
        {
            MaskedOutput.CARRIED_STATE: "the hidden state that it carries on",
            MaskedOutput.PREVIOUS_OUTPUT: "its previous output, zeros before the first",
        },
    ),
    "bidirectional_zeroes_masked": Words(
        "at a masked timestep a Bidirectional returns",
        {False: "what its layers return", True: "zeros", None: "zeros or not (the file does not tell)"},
    ),
    "conv_lstm_zeroes_masked": Words(
        "at a masked timestep a ConvLSTM with zero_output_for_mask returns",
        {False: "what it does without it", True: "zeros"},
    ),
    "merged_mask": Words(
        "the masks of merged tensors",
        {
            MergedMask.ALL: "keep a timestep that all of them keep",
            MergedMask.ANY: "keep a timestep that any of them keeps",
            MergedMask.NONE: "are lost",
        },
    ),
    "distributed_mask": Words(
        "the mask of a TimeDistributed",
        {
            DistributedMask.UNSEEN: "goes on, unseen by the layer inside",
            DistributedMask.COMPUTED: "is what the layer inside makes of it",
            DistributedMask.SEEN: "goes on, and the layer inside sees it",
        },
    ),
    "states_hide_mask": Words(
        "a recurrent layer that is called with initial states",
        {False: "sees the mask of its input", True: "does not see the mask of its input"},
    ),
    "explicit_mask_goes_on": Words(
        "a layer that is called with mask=... passes on",
        {False: "the mask of its input", True: "that mask"},
    ),
    "null_mask_hides": Words(
        "a layer that is called with mask=None", {False: "sees the mask of its input", True: "sees no mask"}
    ),
    "stacked_states_reversed": Words(
        "stacked cells list their states",
        {
            False: "from the first cell",
            True: "from the last cell",
            None: "from the first cell or the last (the file does not tell)",
        },
    ),
    "softmax_sees_mask": Words("Softmax", {False: "ignores the mask", True: "leaves out what is masked"}),
    "identity_keeps_mask": Words(
        "Identity, Rescaling and Normalization", {False: "drop the mask", True: "pass the mask on"}
    ),
    "same_padding": Words(
        "padding 'same' puts before an axis",
        {
            SamePadding.AS_NEEDED: "half of what the last window needs",
            SamePadding.IN_FRONT: "what the size of the window alone says",
        },
    ),
    "resize_half_pixels": Words(
        "bilinear upsampling looks at",
        {
            False: "the corners of pixels",
            True: "the centres of pixels",
            None: "the corners of pixels or their centres (the file does not tell)",
        },
    ),
    "bias_goes_astray": Words(
        "where another axis happens to have its size, a bias is added along",
        {False: "its own axis", True: "that other axis"},
    ),
    "graph_may_train": Words(
        "layers that change images at random, called with training=True,",
        {True: "do so at inference, too", False: "do not at inference"},
    ),
    "augmentation_casts": Words(
        "layers that move or cut images", {True: "turn whole numbers into floats", False: "keep whole numbers"}
    ),
    "contrast_casts": Words(
        "layers that change the light of images", {True: "turn whole numbers into floats", False: "keep whole numbers"}
    ),
    "stretching_casts": Words(
        "layers that stretch images", {True: "turn whole numbers into floats", False: "keep whole numbers"}
    ),
    "random_crop": Words(
        "at inference a RandomCrop",
        {
            Crop.SCALED_FIRST: "scales an image until it covers the size, then cuts out the centre",
            Crop.CUT_FIRST: "cuts out the largest centre of the wanted proportions, then scales it",
            Crop.OFF_CENTRE: "cuts out the size, a little off the centre",
            Crop.UNTOUCHED: "leaves an image as it is",
        },
    ),
    "epsilon_after_root": Words(
        "BatchNormalization adds its epsilon", {False: "to the variance", True: "to the root of the variance"}
    ),
    "bidirectional_keeps_states": Words(
        "a stateful Bidirectional starts a batch from",
        {
            False: "zeros",
            True: "the states of the batch before",
            None: "zeros or the states of the batch before (the file does not tell)",
        },
    ),
    "calls_share_states": Words(
        "a stateful layer that is called several times starts each call from",
        {False: "the states of the batch before", True: "the states of its last call"},
    ),
}
_OF_INPUTS = frozenset({"models_cast_inputs", "cast_keeps_mask"})
"""What matters only for inputs of another dtype than the model's."""
_OF_WHOLE_NUMBERS = frozenset({"augmentation_casts", "contrast_casts", "stretching_casts"})
"""What matters only for images of whole numbers."""
_OF_ROUNDING = frozenset(
    """
    attention_scale_in_float32 attention_fused config_in_float32 layer_norm_in_input_dtype layer_norm_fused
    group_norm_in_input_dtype group_norm_rounds_weights halves_round_weights
    """.split()
)
"""What changes the last bits of a number only."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One word of the file that does not mean the same in every Keras."""

    word: str
    """Name of the rule in `Semantics`."""
    value: Any
    text: str
    """A sentence."""


def meanings(semantics: Semantics, words: Iterable[str]) -> tuple[Meaning, ...]:
    """Return what the words that matter for a model mean."""
    return tuple(Meaning(word, getattr(semantics, word), _sentence(word, semantics)) for word in words)


def words_of(graph: ModelGraph, watched: Watched) -> tuple[str, ...]:
    """Return the words that matter for a model, once it has been bound with a watched semantics.

    Those for masks are left out where there is no mask, and those for initial states where no layer is given any.
    """
    if graph.model is None:
        return ()
    given = any(_is_given_states(record) for record in records_in(graph.model))
    asked = watched.asked(masked=has_masks(graph.model))
    unused = _OF_INPUTS if given else _OF_INPUTS | {"states_hide_mask"}
    unused |= frozenset() if _takes_whole_numbers(graph.model) else _OF_WHOLE_NUMBERS
    unused |= frozenset() if watched.null_mask_hides else {"null_mask_hides"}  # Keras 3 writes it into every call
    return tuple(word for word in asked if word not in unused)


def _takes_whole_numbers(model: ModelRecord) -> bool:
    inputs = (record for record in records_in(model) if record.class_name == "InputLayer")
    return any("int" in str(record.config.get("dtype")) for record in inputs)


@dataclass(frozen=True, slots=True)
class Today:
    """What Keras 3 would make of a file."""

    refused_for: tuple[str, ...]
    """What it cannot open."""
    differences: tuple[str, ...]
    """Sentences: what it would compute otherwise."""
    code: tuple[str, ...]
    """Classes whose code it would need."""
    rounding: bool
    """Whether it would compute other last bits."""

    @property
    def text(self) -> str:
        """One sentence."""
        apart = f", given the code of {', '.join(self.code)}" if self.code else ""
        if self.refused_for:
            then = f"; rebuilt there, it would compute other numbers: {self._said}" if self.differences else ""
            return f"Keras 3 cannot open this file ({'; '.join(self.refused_for)}){then}"
        if self.differences:
            return f"Keras 3 opens it{apart} and computes other numbers: {self._said}"
        return f"the same{', but for the last bits' if self.rounding else ''}{apart}"

    @property
    def _said(self) -> str:
        return "; ".join(self.differences)


def today(graph: ModelGraph, words: Collection[str]) -> Today | None:
    """Return what Keras 3 would make of a file, by the words that matter for it; ``None`` without an architecture."""
    if graph.model is None:
        return None
    changed = changes(graph, words)
    records = list(records_in(graph.model))
    return Today(
        tuple(dict.fromkeys(_refusals(graph, [one for one in records if one.instead_of is None]))),
        tuple(text for word, text in changed.items() if word not in _OF_ROUNDING),
        tuple(dict.fromkeys(one.instead_of or one.class_name for one in records if _needs_code(one))),
        rounding=any(word in _OF_ROUNDING for word in changed),
    )


def changes(graph: ModelGraph, words: Collection[str]) -> dict[str, str]:
    """Return the words that mean something else in Keras 3, each with a sentence."""
    ours = semantics_of(graph.origin)
    theirs = semantics_of(replace(graph.origin, era=Era.KERAS3, keras_version=None, rivals=()))
    records = [] if graph.model is None else list(records_in(graph.model))
    return {
        word: _difference(word, ours, theirs, records) for word in words if getattr(ours, word) != getattr(theirs, word)
    }


def _sentence(word: str, semantics: Semantics) -> str:
    words = _words(word)
    return f"{words.subject} {words.of(getattr(semantics, word))}"


def _difference(word: str, ours: Semantics, theirs: Semantics, records: Iterable[LayerRecord]) -> str:
    users = [one.name for one in records if word == "hard_sigmoid_slope" and _uses_hard_sigmoid(one, ours)]
    where = f" (in {_some(users)})" if users else ""
    return f"{_sentence(word, theirs)}, not {_words(word).of(getattr(ours, word))}{where}"


def _words(word: str) -> Words:
    return _PLAIN.get(word) or Words(f"{word.replace('_', ' ')} is", {True: "true", False: "false"})


_NAMES_SHOWN = 3


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _uses_hard_sigmoid(record: LayerRecord, semantics: Semantics) -> bool:
    named = [record.config.get(key) for key in ("activation", "recurrent_activation")]
    if is_recurrent(record) and "recurrent_activation" not in record.config:
        images = record.class_name.startswith("ConvLSTM")
        gated = record.class_name.startswith(("LSTM", "GRU")) or images
        default = semantics.conv_recurrent_activation if images else semantics.recurrent_activation
        named += [default] if gated else []
    return "hard_sigmoid" in named


def _is_given_states(record: LayerRecord) -> bool:
    return is_recurrent(record) and any(
        "initial_state" in call.kwargs or sum(1 for _ in references(call.args)) > 1 for call in record.calls
    )


def _needs_code(record: LayerRecord) -> bool:
    unknown = kind_of(record) is None and record.model is None and record.class_name != "InputLayer"
    return record.instead_of is not None or (unknown and record.namespace is not Namespace.LAYER)


GONE = frozenset(
    """
    BatchNormalizationV1 BatchNormalizationV2 CuDNNGRU CuDNNLSTM Highway LocallyConnected1D LocallyConnected2D
    MaxoutDense ParametricSoftplus PeepholeLSTMCell RandomHeight RandomWidth SReLU SlicingOpLambda
    SyncBatchNormalization TFOpLambda TensorFlowOpLayer ThresholdedReLU
    """.split()
)
"""Classes of earlier Kerases that Keras 3.15 does not have."""
_FOREIGN = {
    "savedmodel": "a SavedModel folder",
    "tfjs": "a model of TensorFlow.js",
    "checkpoint": "a checkpoint of TensorFlow",
}
"""Containers that Keras 3.15 does not read at all."""
_MAPPED = (2, 2, 3)
"""The first release that wrote the configuration of a Sequential as a mapping instead of a list."""
_WITH_INPUT = (2, 4)
"""The first release that wrote the input layer of a Sequential, too, so that it does without the shape."""


def _refusals(graph: ModelGraph, records: Iterable[LayerRecord]) -> Iterator[str]:
    """Yield what Keras 3 cannot open.

    Source: ``keras/src/legacy/saving`` and ``keras/src/saving/serialization_lib.py`` 3.15.1, tried on files of Keras
    2.0 to 2.15 and 3.0 to 3.15.
    """
    origin = graph.origin
    if origin.container in _FOREIGN:
        yield _FOREIGN[origin.container]
    if origin.era is Era.KERAS1:
        yield "the words of Keras 1"
    rules = _RULES_OF_HDF5 if origin.era is Era.KERAS3 else (*_RULES_OF_KERAS_2, *_RULES_OF_HDF5)
    if origin.era is Era.KERAS3 and origin.container in ("keras", "tfjs"):
        return
    if origin.era is Era.KERAS2:
        yield from (found for model in _models(graph) if (found := _sequential(model, origin)) is not None)
    for record in records:
        yield from (found for rule in rules if (found := rule(record)) is not None)


def _models(graph: ModelGraph) -> Iterator[ModelRecord]:
    if graph.model is not None:
        yield graph.model
        yield from (record.model for record in records_in(graph.model) if record.model is not None)


def _sequential(model: ModelRecord, origin: Origin) -> str | None:
    """``batch_input_shape`` is taken for the shape of one sample (``Layer.__init__`` knows ``input_shape`` alone)."""
    if model.class_name != "Sequential":
        return None
    texts = (origin.keras_version or "").partition("-")[0].split(".")
    version = tuple(map(int, texts)) if all(map(str.isdecimal, texts)) else _WITH_INPUT
    if version < _MAPPED:
        return "a Sequential whose configuration is a list"
    shaped = any(one.class_name != "InputLayer" and one.config.get("batch_input_shape") for one in model.layers)
    return "a Sequential that holds batch_input_shape" if shaped and version < _WITH_INPUT else None


def _class_is_gone(record: LayerRecord) -> str | None:
    return record.class_name if record.class_name in GONE else None


def _time_major(record: LayerRecord) -> str | None:
    return "time_major" if is_recurrent(record) and "time_major" in record.config else None


def _layer_inside(record: LayerRecord) -> str | None:
    lost = any(child.module is None for group in record.children.values() for child in group)
    return f"{record.class_name}: the layer inside names no module" if lost else None


def _states_in_a_list(record: LayerRecord) -> str | None:
    listed = is_recurrent(record) and any(
        isinstance(call.args[0], (tuple, list)) and len(call.args[0]) > 1 for call in record.calls if call.args
    )
    return "initial states in one list with the input" if listed else None


def _reset_after(record: LayerRecord) -> str | None:
    unsaid = record.class_name == "GRU" and "reset_after" not in record.config
    return "a GRU's bias without reset_after" if unsaid and record.config.get("use_bias", True) else None


def _spatial_dropout(record: LayerRecord) -> str | None:
    return record.class_name if record.class_name.startswith("SpatialDropout") else None


def _slash(record: LayerRecord) -> str | None:
    return f"the name {record.name}" if "/" in record.name else None


def _operation(record: LayerRecord) -> str | None:
    return f"the operation {record.class_name} in HDF5" if record.namespace is Namespace.OPERATION else None


def _score_mode(record: LayerRecord) -> str | None:
    return "the score_mode of Attention in HDF5" if record.config.get("score_mode") == "dot" else None


_Rule = Callable[[LayerRecord], str | None]
_RULES_OF_KERAS_2: tuple[_Rule, ...] = (
    _class_is_gone, _time_major, _layer_inside, _states_in_a_list, _reset_after, _spatial_dropout, _slash,
)  # fmt: skip
_RULES_OF_HDF5: tuple[_Rule, ...] = (_operation, _score_mode)
