"""Models that hear and see: what several versions of Keras saved and computed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from layers import bound

import gateprobe
from gateprobe.errors import GateprobeWarning, InputError, UnsupportedModel
from gateprobe.graph import Era, LayerRecord
from gateprobe.layers.base import Arguments, Tensor
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.migration.run import migrate
from gateprobe.verification.run import verify

MEDIA = Path(__file__).parent / "data" / "media"
FILES = sorted(MEDIA.glob("*/*.keras"))
RNG = np.random.default_rng(3)


def given(path):
    with np.load(path.with_suffix(".npz")) as file:
        return file["x"], file["y"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.filterwarnings("ignore:top_db")
def test_a_model_gives_what_keras_computed(path):
    x, y = given(path)
    np.testing.assert_allclose(next(iter(gateprobe.read(path).predict(x).values())), y, atol=2e-6)


def test_there_are_models_of_each_kind():
    assert {path.stem for path in FILES} == {"mel", "stft", "pipeline"}  # Pipeline, with weights inside
    assert len({path.parent for path in FILES}) == 2


def test_a_loud_sample_raises_what_is_quiet_and_a_note_says_so():
    path = MEDIA / "3.15.1" / "mel.keras"
    model, (x, y) = gateprobe.read(path), given(path)
    with pytest.warns(GateprobeWarning, match=r"top_db=50 .* batch_size=1"):
        model.predict(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (alone,) = model.predict(x, batch_size=1).values()
    np.testing.assert_allclose(alone[0], y[0], atol=2e-6)  # the loudest one
    assert np.abs(alone[2] - y[2]).max() > 1e-3


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.filterwarnings("ignore")
def test_keras_agrees_on_every_gate(path, in_process):
    assert verify(gateprobe.read(path), given(path)[0])


@pytest.mark.parametrize("name", ["mel", "stft", "pipeline"])
@pytest.mark.filterwarnings("ignore:top_db")
def test_migrated_models_compute_the_same(name, tmp_path):
    path, made = MEDIA / "3.8.0" / f"{name}.keras", tmp_path / "made.keras"
    x, y = given(path)
    migrate(path).write(made)
    np.testing.assert_allclose(next(iter(gateprobe.read(made).predict(x).values())), y, atol=2e-6)


def replayed(class_name, config, x, version="3.15.1", calls=(), mask=None):
    era = Era.KERAS3 if version.startswith("3") else Era.KERAS2
    record = LayerRecord("layer", class_name, config, calls=calls)
    layer = bound.bind(record, [], bound.meaning(era, version))
    return layer.replay(Arguments((Tensor(x, mask),)), bound.scope())[0].value


IMAGES = RNG.integers(0, 255, (2, 6, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize("class_name", ["RandomFlip", "RandomCrop", "AutoContrast"])
def test_images_with_masks_are_refused(class_name):
    config = {"height": 2, "width": 2} if class_name == "RandomCrop" else {}
    with pytest.raises(InputError, match="images with a mask"):
        replayed(class_name, config, IMAGES, mask=np.ones((2, 6), bool))


@pytest.mark.parametrize("version", ["3.5.0", "3.7.0", "2.6.0"])
def test_a_crop_takes_images_alone(version):
    with pytest.raises(InputError, match="expected 4 axes"):
        replayed("RandomCrop", {"height": 2, "width": 2}, IMAGES[..., 0], version)


def test_the_extremes_of_a_contrast_are_those_of_one_sample():
    with pytest.raises(InputError, match="expected 4 axes"):
        replayed("AutoContrast", {}, IMAGES[0])


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        ("RandomFlip", {"strength": 2}, "strength=2"),
        ("AutoContrast", {"value_range": [0, 0]}, "two different numbers"),
        ("AutoContrast", {"value_range": "0-255"}, "two different numbers"),
        ("MelSpectrogram", {"sequence_length": 31, "fft_length": 64}, "odd length, 31, differ between the backends"),
        ("MelSpectrogram", {"sequence_length": 65, "fft_length": 64}, "more than fft_length=64"),
        ("MelSpectrogram", {"window": "kaiser"}, "config.window"),
        ("MelSpectrogram", {"window": [1.0, 2.0]}, "expected 2048 finite numbers"),
        ("MelSpectrogram", {"min_freq": 9000.0}, "is not below max_freq=8000"),
        ("STFTSpectrogram", {"frame_step": 300}, "config.frame_step"),
        ("STFTSpectrogram", {"mode": "mel"}, "config.mode"),
    ],
)
def test_settings_that_are_not_understood_are_refused(class_name, config, message):
    with pytest.raises(Unsupported, match=message):
        replayed(class_name, config, IMAGES)


@pytest.mark.parametrize(
    ("ids", "config", "version", "message"),
    [
        (np.array([["a"]]), {}, "3.15.1", "takes ids, not texts, in Keras, too; put a StringLookup"),
        (np.array([1, 2]), {}, "3.15.1", "takes rows of ids"),
        (np.array([[1], [2]]), {}, "3.3.3", "mixes the samples"),
        (np.array([[1, 4]]), {"output_mode": "one_hot"}, "3.15.1", r"4 is outside 0\.\.3"),
    ],
)
def test_what_codes_cannot_be_made_of(ids, config, version, message):
    with pytest.raises(InputError, match=message):
        replayed("CategoryEncoding", {"num_tokens": 4, **config}, ids, version)


def test_counts_may_be_weighted():
    """The example of Keras's own documentation."""
    ids = np.array([[0, 1], [0, 0], [1, 2], [3, 1]])
    weights = np.array([[0.1, 0.2], [0.1, 0.1], [0.2, 0.3], [0.4, 0.2]], np.float32)
    expected = [[0.1, 0.2, 0, 0], [0.2, 0, 0, 0], [0, 0.2, 0.3, 0], [0, 0.2, 0, 0.4]]

    def codes(mode, given):
        record = LayerRecord("layer", "CategoryEncoding", {"num_tokens": 4, "output_mode": mode})
        layer = bound.bind(record, [], bound.meaning(Era.KERAS3))
        call = Arguments((Tensor(ids),), {"count_weights": Tensor(given)})
        return layer.replay(call, bound.scope())[0].value

    np.testing.assert_allclose(codes("count", weights), expected, rtol=1e-6)
    for mode, given in (("multi_hot", weights), ("count", weights[:, :1])):
        with pytest.raises(InputError, match="which Keras refuses"):
            codes(mode, given)


def test_a_waveform_must_be_long_enough_to_be_mirrored():
    config = {"fft_length": 64, "sequence_stride": 8, "num_mel_bins": 3}
    assert replayed("MelSpectrogram", config, RNG.random((2, 33), np.float32)).shape == (2, 3, 5)
    with pytest.raises(InputError, match="32 values is too short for fft_length=64"):
        replayed("MelSpectrogram", config, RNG.random((2, 32), np.float32))


def test_a_window_may_be_written_as_an_array():
    config = {
        "fft_length": 4,
        "sequence_stride": 2,
        "num_mel_bins": 2,
        "power_to_db": False,
        "window": [0.0, 0.5, 1.0, 0.5],
    }
    x = RNG.random((2, 20), np.float32)
    wrapped = {"class_name": "__numpy__", "config": {"value": config["window"], "dtype": "float32"}}
    expected = replayed("MelSpectrogram", {**config, "window": "hann"}, x)
    np.testing.assert_array_equal(replayed("MelSpectrogram", config, x), expected)
    np.testing.assert_array_equal(replayed("MelSpectrogram", {**config, "window": wrapped}, x), expected)


def test_feature_columns_are_refused_by_name(tmp_path):
    layers = [
        {"class_name": "DenseFeatures", "config": {"name": "columns", "feature_columns": []}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": 1}},
    ]
    layers[0]["config"]["batch_input_shape"] = [None, 3, 2]
    path = tmp_path / "model.json"
    text = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}, "keras_version": "2.15.0"}
    path.write_text(json.dumps({**text, "backend": "tensorflow"}))
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"columns", b"lstm"]
        file.create_group("columns").attrs["weight_names"] = []
        group = file.create_group("lstm")
        group.attrs["weight_names"] = [b"lstm/k", b"lstm/r", b"lstm/b"]
        for name, shape in ((b"k", (2, 4)), (b"r", (1, 4)), (b"b", (4,))):
            group[f"lstm/{name.decode()}"] = np.ones(shape, np.float32)
    model = gateprobe.read(tmp_path / "w.h5", architecture=path)
    with pytest.raises(UnsupportedModel, match=r"columns \(DenseFeatures\): reads feature columns"):
        model.trace(np.ones((1, 3, 2), np.float32))
