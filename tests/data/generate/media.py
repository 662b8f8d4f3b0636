"""Write models that hear and see, and what Keras computes from them: ``python media.py FOLDER``, with any Keras 3.

``tests/data/media/3.8.0`` and ``3.15.1`` were written by these versions, with TensorFlow 2.18 and 2.21.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
from keras import layers

RANDOM = np.random.default_rng(5)


def mel():
    """The quieter sample is so quiet that the louder one raises what there is of it."""
    x = keras.Input((200,))
    y = layers.MelSpectrogram(fft_length=64, sequence_stride=32, sampling_rate=1000, num_mel_bins=5, top_db=50)(x)
    sound = RANDOM.standard_normal((3, 200)) * [[1.0], [0.3], [0.001]]
    return keras.Model(x, layers.LSTM(2)(layers.Permute((2, 1))(layers.Rescaling(0.05)(y)))), sound


def stft():
    x = keras.Input((60, 2))
    y = layers.STFTSpectrogram(frame_length=16, frame_step=8, window=[0.5] * 16)(x)
    return keras.Model(x, layers.LSTM(2)(y)), RANDOM.standard_normal((2, 60, 2))


def pipeline():
    """Flips would show: every image has a bright corner."""
    scaled = layers.Normalization()
    scaled.adapt(RANDOM.uniform(0, 255, (4, 6, 4, 3)))
    front = [scaled, layers.RandomFlip(), layers.Pipeline([layers.RandomRotation(0.5), layers.AutoContrast((-3, 3))])]
    x = keras.Input((6, 4, 3))
    y = layers.RandomContrast(0.5)(layers.Pipeline(front)(x))
    images = RANDOM.uniform(0, 255, (3, 6, 4, 3))
    images[:, 0, 0] = 255
    return keras.Model(x, layers.LSTM(2)(layers.Reshape((6, 12))(y))), images


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for make in (mel, stft, pipeline):
        model, x = make()
        x = x.astype("float32")
        model.save(folder / f"{make.__name__}.keras")
        np.savez_compressed(folder / f"{make.__name__}.npz", x=x, y=model.predict(x, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
