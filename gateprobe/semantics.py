"""What the same word meant in each era, as numbers and named rules.

This is the last place that knows of eras: everything below binding asks a `Semantics` value for the rule itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateprobe.errors import InputError
from gateprobe.graph import Era, Origin

_LATEST = 99
"""Minor version of a file that does not say."""


class MaskedOutput(Enum):
    """What a recurrent layer emits at a masked timestep."""

    CARRIED_STATE = "carried_state"
    """The carried hidden state (``K.rnn`` of Keras 1 and of standalone Keras before 2.3, when not unrolled)."""
    PREVIOUS_OUTPUT = "previous_output"
    """The previous output, zeros before the first one (``K.rnn`` of tf.keras, Keras 2.3 and Keras 3)."""


class DistributedMask(Enum):
    """What a TimeDistributed does with masks."""

    UNSEEN = "unseen"
    """The mask goes on as it is, and the layer inside never sees it (Keras 1 and standalone Keras before 2.2)."""
    COMPUTED = "computed"
    """The layer inside sees its part, and its own mask goes on (Keras 2.2, tf.keras)."""
    SEEN = "seen"
    """The layer inside sees its part, and the mask goes on as it is (Keras 3)."""


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
    hard_sigmoid_slope: float
    """``hard_sigmoid(x) = clip(slope * x + 0.5, 0, 1)``: 0.2 before Keras 3, 1/6 from Keras 3 on."""
    recurrent_activation: str
    """Gate activation of a recurrent layer whose configuration names none."""
    masked_output: MaskedOutput
    """At a masked timestep, when the layer does not zero its outputs there."""
    bidirectional_zeroes_masked: bool
    """Whether a Bidirectional forces ``zero_output_for_mask`` on layers that return sequences (tf.keras, Keras 3)."""
    conv_recurrent_activation: str = "sigmoid"
    """Gate activation of a ConvLSTM whose configuration names none."""
    conv_lstm_zeroes_masked: bool = True
    """Whether a ConvLSTM heeds ``zero_output_for_mask`` (only that of Keras 3 does)."""
    stacked_states_reversed: bool = False
    """Whether ``StackedRNNCells`` lists the states of its last cell first (Keras 2.0 and 2.1)."""
    gru_reset_after: bool = False
    """For a GRU whose configuration lacks the key: Keras 2.0 and 2.1 knew only the reset before the product."""
    merge_keeps_any_mask: bool = False
    """Whether Add, Concatenate, ... keep a timestep that any input keeps (Keras 3.4 on), or only where all keep it."""
    softmax_sees_mask: bool = False
    """Whether a Softmax layer leaves out what is masked (tf.keras from 2.4 on, Keras 3), or only passes the mask on."""
    softmax_zeroes_masked: bool = False
    """Whether a Softmax layer gives zeros where everything is masked (Keras 3.10 on)."""
    attention_sees_masks: bool = False
    """Whether MultiHeadAttention leaves out masked timesteps by itself (tf.keras from 2.10 on, Keras 3)."""
    attention_fused: bool = False
    """Whether a query that sees no key gets exactly the mean of all values (Keras 3.7 on, without dropout)."""
    states_hide_mask: bool = False
    """Whether a recurrent layer that is called with initial states does not see its input's mask (Keras 3)."""
    identity_keeps_mask: bool = False
    """Whether Identity, Rescaling and Normalization pass a mask on (Keras 3)."""
    distributed_mask: DistributedMask = DistributedMask.UNSEEN
    """What a TimeDistributed does with masks."""
    bias_goes_astray: bool = False
    """Whether the TensorFlow backend adds a bias along another axis that happens to have its size (Keras 3.7 on)."""
    attention_scale_in_float32: bool = False
    """Whether headed attention rounds its scale to float32, also in float64 (Keras 3)."""
    attention_takes_masks: bool = False
    """Whether MultiHeadAttention removes the masks from the tensors that it reads (Keras 3.8 on)."""
    explicit_mask_goes_on: bool = True
    """Whether a mask given by keyword goes on with the output, not that of the input (not in Keras 3.0 to 3.10)."""
    group_norm_sees_mask: bool = False
    """Whether GroupNormalization leaves out what is masked from its statistics (tf.keras)."""
    models_cast_inputs: bool = False
    """Whether a model casts what it is given to the dtypes of its input layers (tf.keras, Keras 3)."""
    cast_keeps_mask: bool = False
    """Whether a tensor keeps its mask when a model casts it (Keras 3)."""
    dot_norm_floor: float = 1e-6
    """The smallest norm by which a normalising Dot divides: ``sqrt(1e-12)``, in Keras 3 ``keras.config.epsilon()``."""
    unit_norm_floor: float = 1e-6
    """The smallest norm by which UnitNormalization divides: ``sqrt(1e-12)``, from Keras 3.6 on ``1e-12``."""
    dot_any_rank: bool = True
    """Whether Dot contracts tensors of more than three axes like others (not in Keras 1 and standalone 2.0 to 2.2)."""
    resize_half_pixels: bool = True
    """Whether bilinear upsampling looks at the centres of pixels (tf.keras, Keras 3)."""
    resizes_with_tensorflow: bool = False
    """Whether only TensorFlow can have written the file, whose bicubic interpolation is like no other (tf.keras)."""
    keras1_kernels: bool = False
    """Whether convolution kernels are stored in the shapes of Keras 1, which depend on the order of dimensions."""
    calls_share_states: bool = False
    """Whether a stateful layer starts each call from the states that its last call left (tf.keras from 2.4 on, Keras 3;
    without eager execution all calls read the old states, and which one is kept is not determined)."""
    kept_states_win: bool = False
    """Whether a stateful layer prefers the states of its last call, unless all are zero, to those given (tf.keras)."""
    config_in_float32: bool = False
    """Whether Normalization turns the numbers of its configuration into float32 first (Keras 3)."""
    normalizes_in_input_dtype: bool = False
    """Whether LayerNormalization and GroupNormalization compute in their input's dtype, not their own (Keras 3)."""
    weight_order: WeightOrder = WeightOrder.TF_KERAS
    """How lists of weights are ordered."""
    theano: bool = False
    """Whether the Theano backend of Keras 2 wrote the file, whose convolutions flip their kernels."""

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
    era = origin.era if override == "auto" else eras[override]
    minor = _standalone_keras_2_minor(origin) if era is origin.era is Era.KERAS2 else None
    standalone_before_2_3 = era is Era.KERAS1 or (minor is not None and minor < 3)
    standalone = era is Era.KERAS1 or minor is not None
    keras_3_minor = -1 if era is not Era.KERAS3 else _minor(origin, "3")
    return Semantics(
        era=era,
        hard_sigmoid_slope=1 / 6 if era is Era.KERAS3 else 0.2,
        recurrent_activation="hard_sigmoid" if standalone_before_2_3 else "sigmoid",
        masked_output=MaskedOutput.CARRIED_STATE if standalone_before_2_3 else MaskedOutput.PREVIOUS_OUTPUT,
        bidirectional_zeroes_masked=era is not Era.KERAS1 and minor is None,
        conv_recurrent_activation="sigmoid" if era is Era.KERAS3 else "hard_sigmoid",
        conv_lstm_zeroes_masked=era is Era.KERAS3,
        stacked_states_reversed=minor is not None and minor < 2,
        merge_keeps_any_mask=keras_3_minor >= 4,
        softmax_sees_mask=not standalone and "-tf" not in (origin.keras_version or ""),
        softmax_zeroes_masked=keras_3_minor >= 10,
        attention_sees_masks=era is Era.KERAS3 or (era is Era.KERAS2 and _minor(origin, "2") >= 10),
        attention_fused=keras_3_minor >= 7,
        states_hide_mask=era is Era.KERAS3,
        identity_keeps_mask=era is Era.KERAS3,
        distributed_mask=_distributed_mask(era, minor),
        bias_goes_astray=keras_3_minor >= 7,
        attention_scale_in_float32=era is Era.KERAS3,
        attention_takes_masks=keras_3_minor >= 8,
        explicit_mask_goes_on=era is not Era.KERAS3 or keras_3_minor >= 11,
        group_norm_sees_mask=era is Era.KERAS2,
        models_cast_inputs=era is not Era.KERAS1 and minor is None,
        cast_keeps_mask=era is Era.KERAS3,
        dot_norm_floor=1e-7 if era is Era.KERAS3 else 1e-6,
        unit_norm_floor=1e-12 if keras_3_minor >= 6 else 1e-6,
        dot_any_rank=not standalone_before_2_3,
        resize_half_pixels=not standalone,
        resizes_with_tensorflow=era is Era.KERAS2 and minor is None,
        keras1_kernels=origin.era is Era.KERAS1,
        calls_share_states=not standalone and "-tf" not in (origin.keras_version or ""),
        kept_states_win=era is Era.KERAS2 and minor is None,
        config_in_float32=era is Era.KERAS3,
        normalizes_in_input_dtype=era is Era.KERAS3,
        weight_order=_weight_order(origin),
        theano=origin.backend == "theano",
    )


def _weight_order(origin: Origin) -> WeightOrder:
    """Return how the Keras that wrote the file ordered its weights, whatever era the user asks for."""
    if origin.era is Era.KERAS3:
        return WeightOrder.BY_OWNER
    standalone = origin.era is Era.KERAS1 or _standalone_keras_2_minor(origin) is not None
    return WeightOrder.STANDALONE if standalone else WeightOrder.TF_KERAS


def _distributed_mask(era: Era, standalone_minor: int | None) -> DistributedMask:
    if era is Era.KERAS3:
        return DistributedMask.SEEN
    if era is Era.KERAS1 or (standalone_minor is not None and standalone_minor < 2):
        return DistributedMask.UNSEEN
    return DistributedMask.COMPUTED


def _standalone_keras_2_minor(origin: Origin) -> int | None:
    """Return the minor version when standalone Keras 2.0 to 2.3 wrote the file.

    tf.keras called itself ``2.1.x-tf`` and ``2.2.4-tf`` first and has the version numbers from 2.4 on to itself.
    """
    version = origin.keras_version or ""
    parts = version.split(".")
    if version.endswith("-tf") or len(parts) < 2 or parts[0] != "2" or not parts[1].isdigit():
        return None
    return int(parts[1]) if int(parts[1]) <= 3 else None


def _minor(origin: Origin, major: str) -> int:
    """Return the minor version that wrote the file; the latest rules hold when the file does not say."""
    parts = (origin.keras_version or "").split(".")
    return int(parts[1]) if len(parts) > 1 and parts[0] == major and parts[1].isdigit() else _LATEST
