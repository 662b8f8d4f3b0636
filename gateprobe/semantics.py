"""What the same word meant in each era, as numbers and named rules.

This is the last place that knows of eras: everything below binding asks a `Semantics` value for the rule itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from gateprobe.errors import InputError
from gateprobe.graph import Era, Origin

_LATEST = 99
"""Minor version of a file that does not say."""


class Line(IntEnum):
    """The lines of releases, in the order in which their meanings changed."""

    KERAS_1 = 0
    KERAS_2 = 1
    """Standalone Keras 2.0 to 2.3."""
    TF_KERAS = 2
    """``tf.keras``, which called itself 2.1.x-tf to 2.3.x-tf first, and Keras 2.4 and later."""
    KERAS_3 = 3


class Release(NamedTuple):
    """A version of Keras. A line's releases come after those of the lines before it."""

    line: Line
    minor: int
    patch: int = 0
    """The third number, which tells no two releases of TensorFlow apart."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and the releases that changed it."""

    first: Any
    """Its value in the first Keras."""
    changes: tuple[tuple[Release, Any], ...]
    """Its value from each of these releases on, in their order."""
    of_file: bool
    """Whether it is about how the file is written, which no choice of another era changes."""
    unsaid: Any = None
    """Its value for a file of Keras 2 that does not say its version, where that is not the latest one's."""

    def at(self, release: Release) -> Any:
        """Return the value that holds in a release."""
        if self.unsaid is not None and release == Release(Line.TF_KERAS, _LATEST):
            return self.unsaid
        return [self.first, *(value for since, value in self.changes if since <= release)][-1]


def _rule(first: Any, *changes: tuple[Release, Any], of_file: bool = False, unsaid: Any = None) -> Any:
    return field(metadata={"rule": Rule(first, changes, of_file, unsaid)})


def _keras_2(minor: int) -> Release:
    return Release(Line.KERAS_2, minor)


def _tf_keras(minor: int) -> Release:
    return Release(Line.TF_KERAS, minor)


def _keras_3(minor: int) -> Release:
    return Release(Line.KERAS_3, minor)


KERAS_2_3, TF_KERAS, KERAS_3 = _keras_2(3), _tf_keras(0), _keras_3(0)


class MaskedOutput(Enum):
    """What a recurrent layer emits at a masked timestep."""

    CARRIED_STATE = "carried_state"
    """The carried hidden state (``K.rnn`` of Keras 1 and of standalone Keras before 2.3, when not unrolled)."""
    PREVIOUS_OUTPUT = "previous_output"
    """The previous output, zeros before the first one (``K.rnn`` of tf.keras, Keras 2.3, Keras 3 and on Theano)."""
    LAST_STATE = "last_state"
    """The carried hidden state of the last cell (``rnn`` of Keras 3 on JAX, when not unrolled)."""
    UNCERTAIN = "uncertain"
    """As the first two where they agree; which of them holds elsewhere is not certain (CNTK)."""


class SamePadding(Enum):
    """How padding ``same`` is spread before and after an axis."""

    AS_NEEDED = "as_needed"
    """As much as the last window needs, the odd one at the end (TensorFlow, and every later backend)."""
    IN_FRONT = "in_front"
    """Before the axis by the size of the window alone, after it what the last window needs (Theano)."""
    UNCERTAIN = "uncertain"
    """As the two above where they agree; which of them holds elsewhere is not certain (CNTK)."""


class MergedMask(Enum):
    """What becomes of the masks of several tensors that a layer reads in a list."""

    ALL = "all"
    """A timestep stays where all of them keep it."""
    NONE = "none"
    """They get lost (``Layer.__call__`` of Keras 3.0 to 3.3 looks for a mask on the list)."""
    ANY = "any"
    """A timestep stays where any of them keeps it (Keras 3.4 on)."""


class DistributedMask(Enum):
    """What a TimeDistributed does with masks."""

    UNSEEN = "unseen"
    """The mask goes on as it is, and the layer inside never sees it (Keras 1 and standalone Keras before 2.2)."""
    COMPUTED = "computed"
    """The layer inside sees its part, and its own mask goes on (Keras 2.2, tf.keras)."""
    SEEN = "seen"
    """The layer inside sees its part, and the mask goes on as it is (Keras 3)."""


class Crop(Enum):
    """What a RandomCrop makes of an image at inference."""

    SCALED_FIRST = "scaled_first"
    """Scales it to cover the size, then cuts out the centre (tf.keras until 2.6; TensorFlow 2.1 and 2.2 fail for some
    sizes)."""
    CUT_FIRST = "cut_first"
    """Cuts out the largest centre of the wanted proportions, then scales that (tf.keras from 2.7 on, Keras 3.0 to
    3.5)."""
    OFF_CENTRE = "off_centre"
    """Cuts the size out from where such a centre begins, scaling only what is too small (Keras 3.6, 3.7)."""
    UNTOUCHED = "untouched"
    """Nothing: the image keeps its size (Keras 3.8 on)."""


class WeightOrder(Enum):
    """How a layer's list of weights is ordered when parts of it are frozen."""

    STANDALONE = "standalone"
    """A layer is frozen as a whole; wrappers freeze what they wrap (Keras 1, standalone Keras 2)."""
    TF_KERAS = "tf_keras"
    """A layer is frozen as a whole; a frozen layer lists a model inside it in the order of creation (tf.keras)."""
    BY_OWNER = "by_owner"
    """Each weight goes by the very layer that owns it (Keras 3)."""


@dataclass(frozen=True, slots=True)
class Semantics:
    """The meaning of an era's words.

    Sources: ``keras/activations.py`` and ``keras/backend/tensorflow_backend.py`` of Keras 1.2.2, 2.2.4 and 2.3.1,
    ``tf_keras/src/backend.py`` 2.21, ``keras/src/backend/tensorflow/rnn.py`` and ``nn.py`` of Keras 3.15.
    """

    era: Era
    hard_sigmoid_slope: float = _rule(0.2, (KERAS_3, 1 / 6))
    """``hard_sigmoid(x) = clip(slope * x + 0.5, 0, 1)``: 0.2 before Keras 3, 1/6 from Keras 3 on."""
    recurrent_activation: str = _rule("hard_sigmoid", (KERAS_2_3, "sigmoid"))
    """Gate activation of a recurrent layer whose configuration names none."""
    masked_output: MaskedOutput = _rule(
        MaskedOutput.CARRIED_STATE, (Release(Line.KERAS_2, 2, 5), MaskedOutput.PREVIOUS_OUTPUT)
    )
    """At a masked timestep, when the layer does not zero its outputs there."""
    bidirectional_zeroes_masked: bool | None = _rule(False, (_tf_keras(3), None), (_tf_keras(4), True))
    """Whether a Bidirectional forces ``zero_output_for_mask`` on layers that return sequences (tf.keras, Keras 3).
    ``None`` where that is not certain: TensorFlow 2.1 does not, 2.2 does, and the files of both say 2.3.0-tf."""
    conv_recurrent_activation: str = _rule("hard_sigmoid", (KERAS_3, "sigmoid"))
    """Gate activation of a ConvLSTM whose configuration names none."""
    conv_lstm_zeroes_masked: bool = _rule(False, (KERAS_3, True))
    """Whether a ConvLSTM heeds ``zero_output_for_mask`` (only that of Keras 3 does)."""
    stacked_states_reversed: bool | None = _rule(True, (_keras_2(2), False))
    """Whether ``StackedRNNCells`` lists the states of its last cell first (Keras 2.0 and 2.1, TensorFlow up to 1.10).
    ``None`` where that is not certain: TensorFlow 1.10 does, 1.12 does not, and both say 2.1.6-tf."""
    gru_reset_after: bool = _rule(False, (_tf_keras(4), True), unsaid=False)
    """For a GRU whose configuration lacks the key: Keras 1, standalone Keras 2 and the first versions of tf.keras reset
    before the product unless told otherwise."""
    merged_mask: MergedMask = _rule(MergedMask.ALL, (KERAS_3, MergedMask.NONE), (_keras_3(4), MergedMask.ANY))
    """What becomes of the masks of tensors that Add, Concatenate, ... merge."""
    softmax_sees_mask: bool = _rule(False, (_tf_keras(4), True))
    """Whether a Softmax layer leaves out what is masked (tf.keras from 2.4 on, Keras 3), or only passes the mask on."""
    softmax_zeroes_masked: bool = _rule(False, (_keras_3(10), True))
    """Whether a Softmax layer gives zeros where everything is masked (Keras 3.10 on)."""
    attention_sees_masks: bool = _rule(False, (_tf_keras(10), True))
    """Whether MultiHeadAttention leaves out masked timesteps by itself (tf.keras from 2.10 on, Keras 3)."""
    attention_fused: bool = _rule(False, (_keras_3(7), True))
    """Whether a query that sees no key gets exactly the mean of all values (Keras 3.7 on, without dropout)."""
    states_hide_mask: bool = _rule(False, (KERAS_3, True))
    """Whether a recurrent layer that is called with initial states does not see its input's mask (Keras 3)."""
    identity_keeps_mask: bool = _rule(False, (KERAS_3, True))
    """Whether Identity, Rescaling and Normalization pass a mask on (Keras 3)."""
    distributed_mask: DistributedMask = _rule(
        DistributedMask.UNSEEN, (_keras_2(2), DistributedMask.COMPUTED), (KERAS_3, DistributedMask.SEEN)
    )
    """What a TimeDistributed does with masks."""
    bias_goes_astray: bool = _rule(False, (_keras_3(7), True))
    """Whether the TensorFlow backend adds a bias along another axis that happens to have its size (Keras 3.7 on)."""
    attention_scale_in_float32: bool = _rule(False, (KERAS_3, True))
    """Whether headed attention rounds its scale to float32, also in float64 (Keras 3)."""
    attention_takes_masks: bool = _rule(False, (_keras_3(8), True))
    """Whether MultiHeadAttention removes the masks from the tensors that it reads (Keras 3.8 on)."""
    explicit_mask_goes_on: bool = _rule(True, (KERAS_3, False), (_keras_3(11), True))
    """Whether a mask given by keyword goes on with the output, not that of the input (not in Keras 3.0 to 3.10)."""
    null_mask_hides: bool = _rule(True, (KERAS_3, False))
    """Whether ``mask=None`` in a call hides the mask of the input (Keras 2), or says nothing (Keras 3)."""
    group_norm_sees_mask: bool = _rule(True, (KERAS_3, False))
    """Whether GroupNormalization leaves out what is masked from its statistics (tf.keras)."""
    models_cast_inputs: bool = _rule(False, (TF_KERAS, True))
    """Whether a model casts what it is given to the dtypes of its input layers (tf.keras, Keras 3)."""
    cast_keeps_mask: bool = _rule(False, (KERAS_3, True))
    """Whether a tensor keeps its mask when a model casts it (Keras 3)."""
    dot_norm_floor: float | None = _rule(1e-6, (KERAS_3, 1e-7))
    """The smallest norm by which a normalising Dot divides: ``sqrt(1e-12)``, in Keras 3 ``keras.config.epsilon()``.
    ``None`` where that is not certain (CNTK)."""
    unit_norm_floor: float = _rule(1e-6, (_keras_3(6), 1e-12))
    """The smallest norm by which UnitNormalization divides: ``sqrt(1e-12)``, from Keras 3.6 on ``1e-12``."""
    dot_any_rank: bool = _rule(False, (KERAS_2_3, True))
    """Whether Dot contracts tensors of more than three axes like others (not in Keras 1 and standalone 2.0 to 2.2)."""
    resize_half_pixels: bool | None = _rule(False, (TF_KERAS, None), (_tf_keras(3), True))
    """Whether bilinear upsampling looks at the centres of pixels (tf.keras from TensorFlow 1.15 on, Keras 3). ``None``
    where that is not certain: TensorFlow 1.13 and 1.14 do not, 1.15 and 2.0 do, and all of them say 2.2.4-tf."""
    resizes_with_tensorflow: bool = _rule(True, (KERAS_3, False))
    """Whether only TensorFlow can have written the file, whose bicubic interpolation is like no other (tf.keras)."""
    keras1_kernels: bool = _rule(True, (_keras_2(0), False), of_file=True)
    """Whether convolution kernels are stored in the shapes of Keras 1, which depend on the order of dimensions."""
    calls_share_states: bool = _rule(False, (_tf_keras(4), True))
    """Whether a stateful layer starts each call from the states that its last call left (tf.keras from 2.4 on, Keras 3;
    without eager execution all calls read the old states, and which one is kept is not determined)."""
    kept_states_win: bool = _rule(False, (_tf_keras(3), True), (KERAS_3, False))
    """Whether a stateful layer prefers the states of its last call, unless all are zero, to those given (tf.keras
    from TensorFlow 2.1 on)."""
    bidirectional_keeps_states: bool | None = _rule(
        True, (Release(Line.KERAS_2, 1, 4), False), (TF_KERAS, None), (_tf_keras(3), True)
    )
    """Whether a stateful Bidirectional starts a batch from the states of the batch before. From Keras 2.1.4 to 2.3 and
    in tf.keras on TensorFlow 1 it does not: ``Layer.__init__``, which it calls last, sets its ``stateful`` to false,
    and ``predict`` then leaves its states at zeros. ``None`` where that is not certain: TensorFlow 1.15 and 2.0, which
    both say 2.2.4-tf, differ."""
    graph_may_train: bool = _rule(True, (KERAS_3, False))
    """Whether ``training=True`` in a graph holds at inference for layers that augment images. In Keras 3 ``predict``
    tells every layer that it does not train, and every graph holds the flag: it is the default of these layers."""
    augmentation_casts: bool = _rule(False, (_tf_keras(8), True))
    """Whether RandomFlip, RandomRotation and the like make floats of whole numbers (tf.keras from 2.8 on, Keras 3)."""
    contrast_casts: bool = _rule(False, (_tf_keras(8), True), (_keras_3(6), False))
    """Whether RandomContrast and RandomBrightness do (tf.keras from 2.8 on, Keras 3.0 to 3.5)."""
    stretching_casts: bool = _rule(False, (_tf_keras(8), True), (_tf_keras(9), False))
    """Whether RandomHeight and RandomWidth do (tf.keras 2.8)."""
    random_crop: Crop = _rule(
        Crop.SCALED_FIRST,
        (_tf_keras(7), Crop.CUT_FIRST),
        (_keras_3(6), Crop.OFF_CENTRE),
        (_keras_3(8), Crop.UNTOUCHED),
    )
    """What a RandomCrop makes of an image at inference."""
    single_codes_mix: bool = _rule(False, (KERAS_3, True), (_keras_3(4), False))
    """Whether CategoryEncoding makes one code of all samples where each has a single id (Keras 3.0 to 3.3)."""
    config_in_float32: bool = _rule(False, (KERAS_3, True))
    """Whether Normalization turns the numbers of its configuration into float32 first (Keras 3)."""
    layer_norm_in_input_dtype: bool = _rule(False, (_keras_3(6), True))
    """Whether LayerNormalization computes in its input's dtype, not its own (Keras 3.6 on)."""
    layer_norm_fused: bool = _rule(True, (KERAS_3, False))
    """Whether LayerNormalization subtracts the mean first, as TensorFlow's fused operation does (tf.keras)."""
    group_norm_in_input_dtype: bool = _rule(False, (_keras_3(7), True))
    """Whether GroupNormalization computes in its input's dtype, not its own (Keras 3.7 on)."""
    group_norm_rounds_weights: bool = _rule(False, (_keras_3(7), True), (_keras_3(15), False))
    """Whether GroupNormalization in half precision rounds the weights that it keeps in float32 (Keras 3.7 to 3.14)."""
    halves_round_weights: bool = _rule(False, (KERAS_3, True), (_keras_3(2), False))
    """Whether LayerNormalization and BatchNormalization in half precision round what others keep in float32 (Keras 3.0,
    3.1)."""
    weight_order: WeightOrder = _rule(
        WeightOrder.STANDALONE, (TF_KERAS, WeightOrder.TF_KERAS), (KERAS_3, WeightOrder.BY_OWNER), of_file=True
    )
    """How lists of weights are ordered."""
    unroll_zeroes_masked: bool = True
    """Whether an unrolled layer heeds ``zero_output_for_mask``; that of Keras 3 on JAX does not."""
    same_padding: SamePadding = SamePadding.AS_NEEDED
    """How convolutions and poolings pad to ``same``."""
    of_tensorflow: bool = True
    """Whether TensorFlow is known to have computed what the file describes; Keras 3 says so in HDF5 files only."""
    emits_hidden_state: bool = True
    """Whether an LSTM returns its hidden states; on CNTK from Keras 2.2.3 on it returns its last state, the cell's,
    and a stack that of its last cell, unless unrolled."""
    epsilon_after_root: bool = False
    """Whether BatchNormalization adds its epsilon after the root of the variance (CNTK, Keras 2.1.3 to 2.2.0)."""
    theano: bool = False
    """Whether the Theano backend wrote the file, whose convolutions flip their kernels."""
    rivals: tuple[Semantics, ...] = ()
    """What the words would mean in other eras of which the file may be; none when the user chose."""

    @property
    def label(self) -> str:
        """Short text that goes into every trace, for example ``keras2: hard_sigmoid[slope=0.2], ...``."""
        slope = "1/6" if self.hard_sigmoid_slope != 0.2 else "0.2"
        return (
            f"{self.era.value}: hard_sigmoid[slope={slope}], masked output={self.masked_output.value}, "
            f"Bidirectional zeroes masked output={str(self.bidirectional_zeroes_masked).lower()}, "
            f"default recurrent_activation={self.recurrent_activation}, "
            f"default reset_after={str(self.gru_reset_after).lower()}"
        )


RULES: Mapping[str, Rule] = MappingProxyType(
    {one.name: one.metadata["rule"] for one in fields(Semantics) if "rule" in one.metadata}
)
"""Every rule that changed from release to release, by its name in `Semantics`."""


def semantics_of(origin: Origin, override: str = "auto") -> Semantics:
    """Choose the meaning of words for a file.

    Args:
        origin: The file's era and version.
        override: ``auto``, or ``keras1``, ``keras2``, ``keras3`` to ask what another era would compute. An override
            to another era than the file's takes the latest rules of that era.

    Raises:
        InputError: ``override`` is not one of these.
    """
    eras = {era.value: era for era in Era}
    if override != "auto" and override not in eras:
        raise InputError(f"unknown semantics {override!r}", remedy=f"choose auto, {', '.join(eras)}")
    written = release_of(origin)
    era = origin.era if override == "auto" else eras[override]
    meant = written if era is origin.era else Release(_LATEST_LINES[era], _LATEST)
    rules = {name: rule.at(written if rule.of_file else meant) for name, rule in RULES.items()}
    rivals = _rivals(origin) if override == "auto" else ()
    of_backend = _of_backend(origin.backend, meant)
    theano, known = origin.backend == "theano", era is not Era.KERAS3 or origin.backend == "tensorflow"
    return Semantics(
        era=era, theano=theano, of_tensorflow=known, rivals=rivals, **{**rules, **_early(meant), **of_backend}
    )


def _early(meant: Release) -> Mapping[str, Any]:
    """Return what the tf.keras of TensorFlow 1.4 to 1.12 (2.0.8-tf, 2.1.x-tf) did, as Keras before 2.3.

    Source: ``rnn`` in ``tensorflow/python/keras/backend.py`` and ``StackedRNNCells`` in ``layers/recurrent.py`` beside
    it, 1.10.1 and 1.12.3, and ``backend.py`` and ``layers/wrappers.py`` in ``tensorflow/python/keras/_impl/keras``
    1.4.1.
    """
    if meant.line is not Line.TF_KERAS or meant.minor > 1:
        return {}
    unseen = {"distributed_mask": DistributedMask.UNSEEN} if meant.minor == 0 else {}
    return {"masked_output": MaskedOutput.CARRIED_STATE, "stacked_states_reversed": None, **unseen}


def _of_backend(backend: str | None, meant: Release) -> Mapping[str, Any]:
    if meant.line is Line.KERAS_3:
        return {}
    rules = dict(_OF_BACKEND.get(backend or "", {}))
    if backend == "cntk":
        rules["emits_hidden_state"] = meant < Release(Line.KERAS_2, 2, 3)
        rules["epsilon_after_root"] = Release(Line.KERAS_2, 1, 3) <= meant < Release(Line.KERAS_2, 2, 1)
    return rules


_OF_BACKEND: Mapping[str, Mapping[str, Any]] = {
    "theano": {
        "masked_output": MaskedOutput.PREVIOUS_OUTPUT,
        "same_padding": SamePadding.IN_FRONT,
        "dot_norm_floor": 1e-7**0.5,  # of Keras's epsilon
    },
    "cntk": {
        "same_padding": SamePadding.UNCERTAIN,
        "masked_output": MaskedOutput.UNCERTAIN,
        "dot_norm_floor": None,
    },
}
"""What the backends of Keras 1 and 2 beside TensorFlow do otherwise.

Source: ``rnn``, ``conv2d``, ``pool2d`` and ``l2_normalize`` in ``keras/backend/theano_backend.py`` 1.0.8 to 2.3.1, and
``rnn``, ``batch_normalization`` and ``l2_normalize`` in ``cntk_backend.py`` 2.0.5 to 2.3.1.
"""


def _rivals(origin: Origin) -> tuple[Semantics, ...]:
    claims = [replace(origin, era=era, keras_version=version, rivals=()) for era, version in origin.rivals]
    return tuple(semantics_of(claim) for claim in claims)


_LATEST_LINES = {Era.KERAS1: Line.KERAS_1, Era.KERAS2: Line.TF_KERAS, Era.KERAS3: Line.KERAS_3}


def release_of(origin: Origin) -> Release:
    """Return the release that wrote a file; its era's latest where the file does not say.

    tf.keras called itself ``2.1.x-tf`` to ``2.3.x-tf`` first and has the version numbers from 2.4 on to itself.
    """
    version = origin.keras_version or ""
    major, _, rest = version.partition(".")
    minor, _, patch = rest.partition(".")
    third = re.match(r"\d{1,4}", patch)
    line = _LATEST_LINES[origin.era]
    if f"keras{major}" != origin.era.value or not minor.isdigit():
        return Release(line, _LATEST)
    standalone = line is Line.TF_KERAS and int(minor) <= 3 and not version.endswith("-tf")
    return Release(Line.KERAS_2 if standalone else line, int(minor), int(third[0]) if third else 0)
