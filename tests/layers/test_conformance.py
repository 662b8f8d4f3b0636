"""Every registered layer computes what Keras computes, and keeps the promises that all layers make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateprobe.errors import InputError
from gateprobe.graph import Era, Namespace
from gateprobe.layers.base import FLOAT32, FLOAT64, Precision, Tensor, Timewise
from gateprobe.layers.binding.registry import registered
from gateprobe.layers.binding.settings import Unsupported
from layers import bound, keras_oracle, recorded
from layers.answer import Answer
from layers.cases import CASES, TESTED_ELSEWHERE

EVERY = [pytest.param(case, era, id=recorded.key(case, era)) for case in CASES for era in case.eras]
CASTS = ("ops.Cast", "TFOpLambda-cast", "TensorFlowOpLayer-Cast")
"""Say themselves what dtype they give."""
NEWEST = [pytest.param(case, case.eras[-1], id=recorded.key(case, case.eras[-1])) for case in CASES]


def test_every_registered_class_has_a_case():
    cases = {(case.namespace, case.class_name) for case in CASES}
    missing = {
        kind.class_name
        for kind in registered()
        if (kind.namespace, kind.class_name) not in cases
        and kind.class_name not in TESTED_ELSEWHERE
        and " cell" not in kind.class_name  # of a ConvLSTM: no file names it, the layer's own cases bind it
    }
    assert not missing, f"add cases to tests/layers for {sorted(missing)}"


@pytest.mark.parametrize("class_name", TESTED_ELSEWHERE)
def test_what_is_tested_elsewhere_is_tested_there(class_name):
    assert class_name in (Path(__file__).parents[1] / TESTED_ELSEWHERE[class_name]).read_text()


def replayed(case, era, config, precision=FLOAT32, inputs=None, masks=None):
    layer = bound.bind(bound.record_of(case, config), case.arrays(), bound.meaning(era), precision)
    inputs, masks = case.inputs() if inputs is None else inputs, case.masks() if masks is None else masks
    return bound.call(layer, case, inputs, masks, precision)


def kind(dtype):
    return "i" if dtype.kind in "iu" else dtype.kind


def assert_agrees(results, answer: Answer):
    assert len(results) == len(answer.outputs)
    for result, output, mask in zip(results, answer.outputs, answer.masks, strict=True):
        finite = np.abs(output[np.isfinite(output)]).max(initial=1)
        np.testing.assert_allclose(result.value, output, rtol=0, atol=1e-5 * finite)
        assert kind(result.value.dtype) == kind(output.dtype)
        assert (result.mask is None) == (mask is None)
        if mask is not None:
            np.testing.assert_array_equal(result.mask, mask)


@pytest.mark.parametrize(("case", "era"), EVERY)
def test_agrees_with_what_keras_computed(case, era):
    answer = recorded.answer(case, era)
    assert_agrees(replayed(case, era, answer.config), answer)


@pytest.mark.oracle
@pytest.mark.parametrize(("case", "era"), EVERY)
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_keras(case, era):
    if not keras_oracle.installed(era):
        pytest.skip("Keras is not installed")
    answer = keras_oracle.ask(case, era)
    assert_agrees(replayed(case, era, answer.config), answer)


def declared(case, era):
    """Return a case's layer and what it declares about slabs of time; ``None`` where it declares nothing."""
    layer = bound.bind(
        bound.record_of(case, recorded.answer(case, era).config), case.arrays(), bound.meaning(era), FLOAT32
    )
    ranks = tuple(value.ndim for value in case.inputs())
    plain = not case.kwargs and case.args is None and min(ranks) > 1
    return layer, layer.over_time(ranks) if plain and isinstance(layer, Timewise) else None


IN_SLABS = set(
    "Activation ActivityRegularization Add AlphaDropout Average BatchNormalization Concatenate ConvLSTM1D "
    "ConvLSTM2D ConvLSTM3D Dense Dropout ELU Embedding GRU GaussianDropout GaussianNoise Identity LSTM "
    "LayerNormalization LeakyReLU Masking Maximum Minimum Multiply Normalization RMSNormalization ReLU Rescaling "
    "SimpleRNN Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D Subtract ThresholdedReLU "
    "UnitNormalization".split()
)


def test_these_layers_may_run_in_slabs_of_time():
    names = {case.class_name for case in CASES for era in case.eras if declared(case, era)[1] is not None}
    assert names == IN_SLABS


@pytest.mark.parametrize(("case", "era"), [one for one in EVERY if one.values[0].class_name in IN_SLABS])
def test_slabs_of_time_give_what_keras_computed_from_whole_sequences(case, era):
    layer, ranks = declared(case, era)
    if ranks is None:
        return
    answer = recorded.answer(case, era)
    for length in (1, 2):
        slabs = bound.call_in_slabs(layer, case, case.inputs(), case.masks(), length)
        results = [
            Tensor(
                np.concatenate([one.value for one in group], axis=1),
                None if group[0].mask is None else np.concatenate([one.mask for one in group], axis=1),
            )
            if number < len(ranks) and ranks[number] is not None
            else group[-1]  # the last output, and states
            for number, group in enumerate(zip(*slabs, strict=True))
        ]
        assert_agrees(results, answer)
        shapes = [result.value.ndim for result, rank in zip(results, ranks, strict=False) if rank]
        assert shapes == [*filter(None, ranks)]


@pytest.mark.parametrize(("case", "era"), NEWEST)
def test_samples_do_not_know_of_each_other(case, era):
    config = recorded.answer(case, era).config
    order = np.roll(np.arange(len(case.inputs()[0])), 1)
    inputs = [value[order] for value in case.inputs()]
    masks = [None if mask is None else mask[order] for mask in case.masks()]
    for ours, turned in zip(
        replayed(case, era, config), replayed(case, era, config, inputs=inputs, masks=masks), strict=True
    ):
        rows = ours.value.reshape(len(order), -1) if len(ours.value) % len(order) == 0 else ours.value
        again = turned.value.reshape(rows.shape)
        np.testing.assert_allclose(again, rows[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("case", "era"), NEWEST)
def test_a_sample_is_rounded_the_same_way_in_any_company(case, era):
    """In tiles of a BLAS and in NumPy's loops, at every place and among any number of other samples."""
    config, count = recorded.answer(case, era).config, len(case.inputs()[0])

    def bits(numbers):
        inputs = [value[numbers % count] for value in case.inputs()]
        masks = [None if mask is None else mask[numbers % count] for mask in case.masks()]
        results = replayed(case, era, config, inputs=inputs, masks=masks)
        return [result.value.reshape(len(numbers), -1) for result in results]

    whole = bits(np.arange(37))
    shuffled = np.random.default_rng(0).permutation(37)
    for numbers in (shuffled, np.arange(2), np.array([5, 5]), np.arange(3, 10), np.arange(20)):
        for ours, all_of_them in zip(bits(numbers), whole, strict=True):
            assert ours.tobytes() == np.ascontiguousarray(all_of_them[numbers]).tobytes()


@pytest.mark.parametrize(("case", "era"), NEWEST)
def test_double_precision_is_double_all_the_way(case, era):
    answer = recorded.answer(case, era)
    inputs = [value.astype(np.float64) if value.dtype.kind == "f" else value for value in case.inputs()]
    singles, doubles = replayed(case, era, answer.config), replayed(case, era, answer.config, FLOAT64, inputs)
    for single, double, output in zip(singles, doubles, answer.outputs, strict=True):
        if single.value.dtype.kind == "f" and case.id not in CASTS:
            assert (single.value.dtype, double.value.dtype) == (output.dtype, np.float64)
            scale = np.abs(single.value[np.isfinite(single.value)]).max(initial=1)
            np.testing.assert_allclose(double.value, single.value, rtol=0, atol=1e-5 * scale)


OF_FLOAT32 = (
    *(f"TFOpLambda-image.resize-{how}" for how in ("bilinear", "bicubic")),
    *(f"TensorFlowOpLayer-{name}" for name in ("ResizeBilinear", "ResizeBicubic", "GatherV2-table", "OneHot")),
    "TensorFlowOpLayer-OneHot-values",
)
"""Give float32 whatever the dtype of their input."""


def floats_of_integers(case):
    """Whether Keras makes floats of integers, in a dtype of their own: float32, or TensorFlow's division float64."""
    doubles = any(output.dtype == np.float64 for output in recorded.answer(case, case.eras[-1]).outputs)
    return case.integers and (case.namespace is Namespace.OPERATION or doubles)


FLOATING = [
    pytest.param(case, case.eras[-1], id=recorded.key(case, case.eras[-1]))
    for case in CASES
    if not floats_of_integers(case) and case.id not in OF_FLOAT32
]


@pytest.mark.parametrize(("case", "era"), FLOATING)
def test_half_precision_is_rounded(case, era):
    for name in ("float16", "bfloat16"):
        for result in in_half_precision(case, era, Precision(name)):
            if result.value.dtype.kind == "f":
                np.testing.assert_array_equal(Precision(name).round(result.value), result.value, err_msg=name)


def in_half_precision(case, era, precision):
    """Return results; of operations, those that are in that precision: constants of float32 make others float32."""
    config = recorded.answer(case, era).config
    if case.namespace is not Namespace.OPERATION and case.class_name != "TFOpLambda":
        return replayed(case, era, config, precision)
    try:
        return [result for result in replayed(case, era, config, precision) if result.dtype == precision.name]
    except InputError:  # TensorFlow has no such function in half precision
        return []


@pytest.mark.parametrize(("case", "era"), NEWEST)
def test_inputs_are_left_alone(case, era):
    inputs = case.inputs()
    for value in inputs:
        value.flags.writeable = False
    for result in replayed(case, era, recorded.answer(case, era).config, inputs=inputs):
        assert result.value.shape[0] % len(inputs[0]) == 0


@pytest.mark.parametrize(("case", "era"), NEWEST)
def test_a_setting_that_is_not_understood_is_refused(case, era):
    config = {**recorded.answer(case, era).config, "frobnicate": 3}
    with pytest.raises(Unsupported, match="frobnicate"):
        bound.bind(bound.record_of(case, config), case.arrays(), bound.meaning(era))


def test_the_eras_of_cases_are_those_with_a_live_keras():
    assert {era for case in CASES for era in case.eras} == {Era.KERAS2, Era.KERAS3}
