"""Layers that no installable Keras knows, and kernels as old Keras stored them, against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import gateprobe
from gateprobe.errors import InputError
from gateprobe.graph import Era, LayerRecord
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.migration.run import migrate
from layers import bound

DATA = Path(__file__).parents[1] / "data" / "conv_lstm_keras_1"
THEANO = DATA.with_name("theano_keras_2")
RNG = np.random.default_rng(7)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def run(class_name, config, arrays, x, era=Era.KERAS1, **meaning):
    layer = bound.bind(LayerRecord("layer", class_name, config), arrays, bound.meaning(era, **meaning))
    return layer.replay(Arguments((Tensor(x),)), bound.scope())[0].value


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_highway_blends_input_and_dense():
    x, kernel, carry, bias, carry_bias = draw(2, 3), draw(3, 3), draw(3, 3), draw(3), draw(3)
    out = run("Highway", {"activation": "tanh", "transform_bias": -2}, [kernel, carry, bias, carry_bias], x)
    for n in range(2):
        for unit in range(3):
            gate = sigmoid(sum(x[n, k] * carry[k, unit] for k in range(3)) + carry_bias[unit])
            new = math.tanh(sum(x[n, k] * kernel[k, unit] for k in range(3)) + bias[unit])
            assert out[n, unit] == pytest.approx(new * gate + (1 - gate) * x[n, unit], abs=1e-5)


def test_maxout_takes_the_largest_function():
    x, kernel, bias = draw(2, 3), draw(4, 3, 2), draw(4, 2)
    out = run("MaxoutDense", {"units": 2, "nb_feature": 4}, [kernel, bias], x)
    for n in range(2):
        for unit in range(2):
            functions = [sum(x[n, k] * kernel[f, k, unit] for k in range(3)) + bias[f, unit] for f in range(4)]
            assert out[n, unit] == pytest.approx(max(functions), abs=1e-5)


def test_parametric_softplus():
    x, alphas, betas = draw(2, 3), draw(3), draw(3)
    out = run("ParametricSoftplus", {"alpha_init": 0.2, "beta_init": 5.0}, [alphas, betas], x)
    for n in range(2):
        for unit in range(3):
            assert out[n, unit] == pytest.approx(
                alphas[unit] * math.log1p(math.exp(betas[unit] * x[n, unit])), abs=1e-5
            )


def test_srelu_is_three_lines():
    x = 2 * draw(20, 3)
    left, left_slope, right, right_slope = draw(3), draw(3), draw(3), draw(3)
    out = run("SReLU", {"t_left_init": "zero"}, [left, left_slope, right, right_slope], x)
    for n in range(20):
        for unit in range(3):
            value, low, high = x[n, unit], left[unit], left[unit] + abs(right[unit])
            expected = value
            if value < low:
                expected = low + left_slope[unit] * (value - low)
            if value > high:
                expected = high + right_slope[unit] * (value - high)
            assert out[n, unit] == pytest.approx(expected, abs=1e-5)


def correlated(x, kernel):
    """``out[n, t, f] = sum(x[n, t + k, c] * kernel[k, c, f])``."""
    samples, steps, channels = x.shape
    size, _, filters = kernel.shape
    out = np.zeros((samples, steps - size + 1, filters))
    for n, t, f in np.ndindex(out.shape):
        out[n, t, f] = sum(x[n, t + k, c] * kernel[k, c, f] for k in range(size) for c in range(channels))
    return out


def test_a_conv1d_of_keras_1_has_a_kernel_of_four_axes():
    x, kernel = draw(2, 6, 3), draw(4, 3, 5)
    config = {"filters": 5, "kernel_size": 4, "use_bias": False}
    expected = correlated(x, kernel)
    stored = kernel[:, np.newaxis]
    before_1_1 = stored.transpose(3, 2, 0, 1)
    for arrays in ([stored], [before_1_1]):
        np.testing.assert_allclose(run("Conv1D", config, arrays, x), expected, atol=1e-5)
    with pytest.raises(Unsupported, match="no shape in which Keras 1"):
        run("Conv1D", config, [draw(3, 4, 1, 5)], x)


def test_a_conv2d_of_keras_1_with_channels_first_has_its_axes_turned():
    x, kernel = draw(2, 3, 6, 1), draw(4, 1, 3, 5)
    config = {"filters": 5, "kernel_size": [4, 1], "use_bias": False, "data_format": "channels_first"}
    out = run("Conv2D", config, [kernel.transpose(3, 2, 0, 1)], x)
    expected = correlated(x[..., 0].swapaxes(1, 2), kernel[:, 0])
    np.testing.assert_allclose(out[..., 0].swapaxes(1, 2), expected, atol=1e-5)


def test_theano_flips_its_kernels():
    x, kernel = draw(2, 6, 3), draw(4, 3, 5)
    config = {"filters": 5, "kernel_size": 4, "use_bias": False}
    out = run("Conv1D", config, [kernel], x, Era.KERAS2, version="2.1.0", backend="theano")
    np.testing.assert_allclose(out, correlated(x, kernel[::-1]), atol=1e-5)
    padded = run("Conv1D", config | {"padding": "same"}, [kernel], x, Era.KERAS2, version="2.1.0", backend="theano")
    front = kernel.shape[0] // 2
    wide = np.pad(x, [(0, 0), (front, kernel.shape[0] - 1 - front), (0, 0)])
    np.testing.assert_allclose(padded, correlated(wide, kernel[::-1]), atol=1e-5)


@pytest.mark.parametrize("class_name", ["DepthwiseConv2D", "SeparableConv2D"])
def test_theano_keeps_depthwise_kernels_as_all_do(class_name):
    """Keras 2.2 turns them itself on their way to Theano, and not when it loads them."""
    arrays = [draw(3, 2, 3, 2), *([draw(1, 1, 6, 4)] if class_name == "SeparableConv2D" else [])]
    config = {"filters": 4, "kernel_size": [3, 2], "depth_multiplier": 2, "use_bias": False}
    x = draw(2, 5, 4, 3)
    theirs, ours = (run(class_name, config, arrays, x, Era.KERAS2, backend=one) for one in ("tensorflow", "theano"))
    np.testing.assert_array_equal(ours, theirs)


def test_a_layer_refuses_features_it_has_no_weights_for():
    with pytest.raises(InputError, match="expected 3 features"):
        run("Dense", {"units": 2}, [draw(3, 2), draw(2)], draw(4, 5))
    with pytest.raises(InputError, match="expected 3 channels"):
        run("Conv1D", {"filters": 2, "kernel_size": 2}, [draw(2, 3, 2), draw(2)], draw(4, 5, 1), Era.KERAS3)
    with pytest.raises(InputError, match="smaller than the window"):
        run("Conv1D", {"filters": 2, "kernel_size": 2}, [draw(2, 3, 2), draw(2)], draw(4, 1, 3), Era.KERAS3)


@pytest.mark.parametrize("name", ["last", "first", "backwards"])
def test_a_convlstm_of_keras_1_keeps_the_weights_of_each_gate(name, tmp_path):
    with np.load(DATA / "recorded.npz") as recorded:
        x, y = recorded[f"{name}/x"], recorded[f"{name}/y"]
    found = migrate(DATA / f"{name}.h5", x)
    found.write(tmp_path / "new.keras")
    for file in (DATA / f"{name}.h5", tmp_path / "new.keras"):
        (ours,) = gateprobe.read(file).predict(x).values()
        np.testing.assert_allclose(ours, y, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["masked", "dot", "depthwise", "separable"])
def test_what_keras_2_computed_on_theano(name):
    with np.load(THEANO / "recorded.npz") as recorded:
        inputs = [recorded[key] for key in sorted(recorded) if key.startswith(f"{name}/x")]
        (ours,) = gateprobe.read(THEANO / f"{name}.h5").predict(inputs).values()
        np.testing.assert_allclose(ours, recorded[f"{name}/y"], rtol=0, atol=1e-6)
