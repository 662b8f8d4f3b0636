"""Files that carry code past a check which looks elsewhere than Keras does. The code leaves a mark when it runs."""

import base64
import io
import json
import marshal
import struct
import zipfile

import h5py
from readers import build

MARK = "mark"


def lambda_layer(folder):
    """Return a Lambda layer as Keras 2 stores it, whose function leaves a mark in a folder and changes nothing."""
    code = marshal.dumps(eval(f"lambda x: open({str(folder / MARK)!r}, 'w') and x").__code__)
    config = {"name": "evil", "function": [base64.b64encode(code).decode(), None, None], "function_type": "lambda"}
    shape = {"output_shape": None, "output_shape_type": "raw", "output_shape_module": None, "module": None}
    return {"class_name": "Lambda", "config": {**config, **shape, "arguments": {}}}


def evil_h5(folder):
    """Return a whole model in HDF5, a Lambda in it."""
    path = folder / "evil.h5"
    build.h5(path, build.sequential(build.lstm(), lambda_layer(folder)))
    return path.read_bytes()


def clean_h5(folder):
    return build.h5(folder / "clean.h5").read_bytes()


def layer(**config):
    return {"module": "keras.layers", "registered_name": None, **build.lstm(**config)}


def keras2_members(*layers):
    """Return the members of a ``.keras`` of Keras 2, a clean one when no layers are given."""
    config = {"module": "keras", "registered_name": None, **build.sequential(*(layers or [layer()]))}
    return build.members(
        metadata=json.dumps({"keras_version": "2.15.0"}).encode(),
        config=json.dumps(config).encode(),
    )


def zip_with_h5_behind(path, offset, data, content):
    """Write a zip whose first member holds HDF5 where HDF5 is looked for: ``offset`` bytes from the start."""
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo("assets/x")
        padding = offset - 30 - len(info.filename) - 4
        info.extra = struct.pack("<HH", 0xCAFE, padding) + bytes(padding)
        file.writestr(info, data)
        for name, member in content.items():
            file.writestr(name, member)
    assert path.read_bytes()[offset:].startswith(b"\x89HDF")
    return path


def h5_with_zip_in_front(path, folder, content):
    """Write HDF5 whose user block is a whole zip; what follows is the zip's comment."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, member in content.items():
            file.writestr(name, member)
    front = bytearray(stream.getvalue())
    block = 512
    while block < len(front):
        block *= 2
    evil = io.BytesIO(evil_h5(folder))
    with h5py.File(evil, "r") as source, h5py.File(path, "w", userblock_size=block) as target:
        for name, value in source.attrs.items():
            target.attrs[name] = value
        for name in source:
            source.copy(name, target)
    data = bytearray(path.read_bytes())
    front[-2:] = struct.pack("<H", len(data) - len(front))
    data[: len(front)] = front
    path.write_bytes(data)
    return path


def h5_with_zip_behind(path, data, content):
    """Write HDF5 and append a whole zip."""
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as file:
        for name, member in content.items():
            file.writestr(name, member)
    path.write_bytes(stream.getvalue())
    return path


def with_user_block(data, block, front=b""):
    """Return HDF5 behind a user block that begins with some bytes."""
    stream = io.BytesIO()
    with h5py.File(io.BytesIO(data), "r") as source, h5py.File(stream, "w", userblock_size=block) as target:
        for name in source:
            source.copy(name, target)
    moved = bytearray(stream.getvalue())
    moved[: len(front)] = front
    return bytes(moved)


def nested(keras, path, **inner):
    """Let Keras save a model in a model, and say more of the inner one."""
    held = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2)], name="inner")
    keras.Sequential([keras.Input((5, 3)), held]).save(path)
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    config = json.loads(content["config.json"])
    config["config"]["layers"][-1] |= inner
    return build.keras(path, content | {"config.json": json.dumps(config)})
