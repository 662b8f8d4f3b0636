"""ConvLSTM2D of Keras 1.2.2, whose weights are those of each gate, in both orders of axes.

``python conv_lstm_keras_1.py FOLDER`` with the packages of ``rules.py`` for 1.2.2.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import numpy as np
from keras import backend as K
from keras import layers
from keras.models import Model

K.set_image_dim_ordering("tf")
RNG = np.random.RandomState(1)
CASES = {
    "last": ((3, 6, 5, 2), {"dim_ordering": "tf", "return_sequences": True}),
    "first": ((3, 2, 6, 5), {"dim_ordering": "th", "border_mode": "same"}),
    "backwards": ((3, 6, 5, 2), {"dim_ordering": "tf", "go_backwards": True, "activation": "relu"}),
}

recorded = {}
for name, (shape, options) in CASES.items():
    x = layers.Input(shape)
    model = Model(x, layers.ConvLSTM2D(2, 3, 2, **options)(x))
    model.set_weights([RNG.normal(0, 0.5, array.shape) for array in model.get_weights()])
    model.save(os.path.join(sys.argv[1], name + ".h5"))
    values = RNG.normal(size=(2,) + shape).astype("float32")
    recorded[name + "/x"], recorded[name + "/y"] = values, model.predict(values)
np.savez_compressed(os.path.join(sys.argv[1], "recorded.npz"), **recorded)
