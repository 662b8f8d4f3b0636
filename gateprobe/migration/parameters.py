"""What the layers of Keras 3.15 take, beside what cannot change their numbers; a test compares it with Keras itself."""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """
Activation: activation
ActivityRegularization: l1 l2
AdaptiveAveragePooling1D: data_format output_size
AdaptiveAveragePooling2D: data_format output_size
AdaptiveAveragePooling3D: data_format output_size
AdaptiveMaxPooling1D: data_format output_size
AdaptiveMaxPooling2D: data_format output_size
AdaptiveMaxPooling3D: data_format output_size
Add:
AdditiveAttention: dropout score_mode use_scale
AlphaDropout: noise_shape rate
Attention: dropout score_mode use_scale
AugMix: all_ops alpha bounding_box_format chain_depth data_format factor interpolation num_chains value_range
AutoContrast: bounding_box_format data_format factor value_range
Average:
AveragePooling1D: data_format padding pool_dimensions pool_mode pool_size strides
AveragePooling2D: data_format padding pool_dimensions pool_mode pool_size strides
AveragePooling3D: data_format padding pool_dimensions pool_mode pool_size strides
BatchNormalization: axis center epsilon momentum renorm renorm_clipping renorm_momentum scale synchronized
Bidirectional: backward_layer layer merge_mode weights
CategoryEncoding: num_tokens output_mode
CenterCrop: bounding_box_format data_format factor height width
Concatenate: axis
Conv1D: activation data_format dilation_rate filters groups kernel_size padding rank strides use_bias
Conv1DTranspose: activation data_format dilation_rate filters kernel_size output_padding padding rank strides
  use_bias
Conv2D: activation data_format dilation_rate filters groups kernel_size padding rank strides use_bias
Conv2DTranspose: activation data_format dilation_rate filters kernel_size output_padding padding rank strides
  use_bias
Conv3D: activation data_format dilation_rate filters groups kernel_size padding rank strides use_bias
Conv3DTranspose: activation data_format dilation_rate filters kernel_size output_padding padding rank strides
  use_bias
ConvLSTM1D: activation cell data_format dilation_rate dropout filters go_backwards kernel_size padding rank
  recurrent_activation recurrent_dropout return_sequences return_state stateful strides unroll use_bias
  zero_output_for_mask
ConvLSTM2D: activation cell data_format dilation_rate dropout filters go_backwards kernel_size padding rank
  recurrent_activation recurrent_dropout return_sequences return_state stateful strides unroll use_bias
  zero_output_for_mask
ConvLSTM3D: activation cell data_format dilation_rate dropout filters go_backwards kernel_size padding rank
  recurrent_activation recurrent_dropout return_sequences return_state stateful strides unroll use_bias
  zero_output_for_mask
Cropping1D: cropping
Cropping2D: cropping data_format
Cropping3D: cropping data_format
CutMix: bounding_box_format data_format factor
Dense: activation units use_bias
DepthwiseConv1D: activation data_format depth_multiplier dilation_rate kernel_size padding rank strides use_bias
DepthwiseConv2D: activation data_format depth_multiplier dilation_rate kernel_size padding rank strides use_bias
Discretization: bin_boundaries epsilon num_bins output_mode
Dot: axes normalize
Dropout: noise_shape rate
ELU: alpha
EinsumDense: activation bias_axes equation gptq_unpacked_column_size output_shape
Embedding: input_dim mask_zero output_dim weights
Equalization: bins bounding_box_format data_format factor value_range
Flatten: data_format
GRU: activation cell dropout go_backwards recurrent_activation recurrent_dropout reset_after return_sequences
  return_state stateful units unroll use_bias zero_output_for_mask
GRUCell: activation dropout recurrent_activation recurrent_dropout reset_after units use_bias
GaussianDropout: rate
GaussianNoise: stddev
GlobalAveragePooling1D: data_format keepdims pool_dimensions
GlobalAveragePooling2D: data_format keepdims pool_dimensions
GlobalAveragePooling3D: data_format keepdims pool_dimensions
GlobalMaxPooling1D: data_format keepdims pool_dimensions
GlobalMaxPooling2D: data_format keepdims pool_dimensions
GlobalMaxPooling3D: data_format keepdims pool_dimensions
GroupNormalization: axis center epsilon groups scale
GroupedQueryAttention: dropout flash_attention head_dim num_key_value_heads num_query_heads sliding_window use_bias
  use_gate
HashedCrossing: num_bins output_mode
Hashing: mask_value num_bins output_mode salt
Identity:
IntegerLookup: idf_weights invert mask_token max_tokens num_oov_indices oov_method oov_token output_mode
  pad_to_max_tokens salt vocabulary vocabulary_dtype
LSTM: activation cell dropout go_backwards recurrent_activation recurrent_dropout return_sequences return_state
  stateful units unroll use_bias zero_output_for_mask
LSTMCell: activation dropout recurrent_activation recurrent_dropout units use_bias
LayerNormalization: axis center epsilon scale
LeakyReLU: negative_slope
Masking: mask_value
MaxNumBoundingBoxes: bounding_box_format data_format factor fill_value max_number
MaxPooling1D: data_format padding pool_dimensions pool_mode pool_size strides
MaxPooling2D: data_format padding pool_dimensions pool_mode pool_size strides
MaxPooling3D: data_format padding pool_dimensions pool_mode pool_size strides
Maximum:
MelSpectrogram: fft_length mag_exp max_freq min_freq min_power num_mel_bins power_to_db ref_power sampling_rate
  sequence_length sequence_stride top_db window
Minimum:
MixUp: alpha bounding_box_format data_format factor
MultiHeadAttention: attention_axes dropout flash_attention key_dim num_heads output_shape sliding_window use_bias
  use_gate value_dim
Multiply:
Normalization: axis invert mean variance
PReLU: shared_axes
Permute: dims
Pipeline: layers
RMSNormalization: axis epsilon
RNN: cell go_backwards return_sequences return_state stateful unroll zero_output_for_mask
RandAugment: bounding_box_format data_format factor interpolation num_ops value_range
RandomBrightness: bounding_box_format data_format factor value_range
RandomColorDegeneration: bounding_box_format data_format factor value_range
RandomColorJitter: bounding_box_format brightness_factor contrast_factor data_format factor hue_factor
  saturation_factor value_range
RandomContrast: bounding_box_format data_format factor value_range
RandomCrop: bounding_box_format data_format factor height width
RandomElasticTransform: bounding_box_format data_format factor fill_mode fill_value interpolation scale value_range
RandomErasing: bounding_box_format data_format factor fill_value scale value_range
RandomFlip: bounding_box_format data_format factor mode
RandomGaussianBlur: bounding_box_format data_format factor kernel_size sigma value_range
RandomGrayscale: bounding_box_format data_format factor
RandomHue: bounding_box_format data_format factor value_range
RandomInvert: bounding_box_format data_format factor value_range
RandomPerspective: bounding_box_format data_format factor fill_value interpolation scale
RandomPosterization: bounding_box_format data_format factor value_range
RandomRotation: bounding_box_format data_format factor fill_mode fill_value interpolation
RandomSaturation: bounding_box_format data_format factor value_range
RandomSharpness: bounding_box_format data_format factor value_range
RandomShear: bounding_box_format data_format factor fill_mode fill_value interpolation x_factor y_factor
RandomTranslation: bounding_box_format data_format factor fill_mode fill_value height_factor interpolation width_factor
RandomZoom: bounding_box_format data_format factor fill_mode fill_value height_factor interpolation width_factor
ReLU: max_value negative_slope threshold
RepeatVector: n
Rescaling: offset scale
Reshape: target_shape
Resizing: antialias bounding_box_format crop_to_aspect_ratio data_format factor fill_mode fill_value height
  interpolation pad_to_aspect_ratio width
ReversibleEmbedding: input_dim logit_soft_cap mask_zero output_dim reverse_dtype tie_weights weights
STFTSpectrogram: data_format expand_dims fft_length frame_length frame_step mode padding periodic scaling window
SeparableConv1D: activation data_format depth_multiplier dilation_rate filters kernel_size padding rank strides
  use_bias
SeparableConv2D: activation data_format depth_multiplier dilation_rate filters kernel_size padding rank strides
  use_bias
SimpleRNN: activation cell dropout go_backwards recurrent_dropout return_sequences return_state stateful units
  unroll use_bias zero_output_for_mask
SimpleRNNCell: activation dropout recurrent_dropout units use_bias
Softmax: axis
Solarization: addition_factor bounding_box_format data_format factor threshold_factor value_range
SpatialDropout1D: rate
SpatialDropout2D: data_format rate
SpatialDropout3D: data_format rate
SpectralNormalization: layer power_iterations
StackedRNNCells: cells
StringLookup: encoding idf_weights invert mask_token max_tokens num_oov_indices oov_method oov_token output_mode
  pad_to_max_tokens salt vocabulary vocabulary_dtype
Subtract:
TextVectorization: encoding idf_weights max_tokens ngrams output_mode output_sequence_length pad_to_max_tokens split
  standardize vocabulary
TimeDistributed: layer
UnitNormalization: axis
UpSampling1D: size
UpSampling2D: data_format interpolation size
UpSampling3D: data_format size
ZeroPadding1D: data_format padding
ZeroPadding2D: data_format padding
ZeroPadding3D: data_format padding
"""


def _parsed(table: str) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for entry in table.replace("\n  ", " ").strip().split("\n"):
        name, _, words = entry.partition(":")
        found[name] = frozenset(words.split())
    return found


PARAMETERS: Mapping[str, frozenset[str]] = _parsed(_TABLE)
"""Class → the keys of its configuration."""
