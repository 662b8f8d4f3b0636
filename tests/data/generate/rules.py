# /// script
# requires-python = ">=3.11"
# ///
"""Record the models of the rules with every Keras: ``uv run rules.py FOLDER [NAME ...]``, then ``pack_rules.py FOLDER ARCHIVE``.

Each Keras gets a virtual environment in a temporary folder. Those for Python 3.6 and 3.7 are made by ``venv`` and
``pip``, of interpreters called ``python3.6`` and ``python3.7`` on the path (pyenv has them).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
OLD = ["h5py==2.10.0", "protobuf<3.18", "pyyaml==5.4.1", "numpy==1.16.6", "scipy<1.3"]
STANDALONE, TF = ["rules_keras_2.py", "keras"], ["rules_keras_2.py", "tensorflow.keras"]
RELEASES = {
    "1.2.2": ("3.6", ["keras==1.2.2", "tensorflow==1.12.3", *OLD], ["rules_keras_1.py"]),
    "2.0.9": ("3.6", ["keras==2.0.9", "tensorflow==1.12.3", *OLD], STANDALONE),
    "2.1.3": ("3.6", ["keras==2.1.3", "tensorflow==1.12.3", *OLD], STANDALONE),
    "2.1.4": ("3.6", ["keras==2.1.4", "tensorflow==1.12.3", *OLD], STANDALONE),
    "2.1.6": ("3.6", ["keras==2.1.6", "tensorflow==1.12.3", *OLD], STANDALONE),
    "2.2.4": ("3.6", ["keras==2.2.4", "tensorflow==1.12.3", *OLD], STANDALONE),
    "2.3.1": (
        "3.7",
        ["keras==2.3.1", "tensorflow==1.15.5", "h5py==2.10.0", "protobuf<3.21", "numpy==1.18.5"],
        STANDALONE,
    ),
    "tf1.4.1": ("3.6", ["tensorflow==1.4.1", *OLD], ["rules_keras_2.py", "tensorflow.python.keras"]),
    "tf1.12.3": ("3.6", ["tensorflow==1.12.3", *OLD], TF),
    "tf2.0.4": ("3.7", ["tensorflow==2.0.4", "h5py==2.10.0", "protobuf<3.21"], TF),
    "tf2.1.4": ("3.7", ["tensorflow-cpu==2.1.4", "h5py==2.10.0", "protobuf<3.21"], TF),
    "tf2.2.3": ("3.8", ["tensorflow-cpu==2.2.3", "h5py<3", "protobuf<3.21"], TF),
    "tf2.3.4": ("3.8", ["tensorflow-cpu==2.3.4", "h5py<3", "protobuf<3.21"], TF),
    "tf2.4.4": ("3.8", ["tensorflow-cpu==2.4.4", "protobuf<3.21"], TF),
    **{
        f"{v}-theano": ("3.6", [f"keras=={v}", "theano==1.0.5", "keras_applications", *OLD], ["rules_theano.py"])
        for v in ("1.2.2", "2.1.6", "2.3.1")
    },
    **{
        f"tf{v}": ("3.9", [f"tensorflow-cpu=={v}", "numpy<2"], TF)
        for v in ("2.6.5", "2.8.4", "2.9.3", "2.10.1", "2.15.1")
    },
    **{
        v: ("3.11", [f"keras=={v}", "tensorflow-cpu==2.16.2"], ["rules_keras_3.py"])
        for v in ("3.0.5", "3.1.1", "3.2.1", "3.3.3", "3.4.1", "3.5.0")
    },
    **{
        v: ("3.11", [f"keras=={v}", "tensorflow-cpu==2.18.1"], ["rules_keras_3.py"])
        for v in "3.6.0 3.7.0 3.8.0 3.9.2 3.10.0 3.11.3 3.12.4 3.13.2 3.14.1 3.15.1".split()
    },
}


def main(folder: Path, names: list[str]) -> None:
    for name in names or RELEASES:
        python, packages, (script, *module) = RELEASES[name]
        with tempfile.TemporaryDirectory() as made:
            if python in ("3.6", "3.7"):
                subprocess.run([f"python{python}", "-m", "venv", made], check=True)
                subprocess.run([f"{made}/bin/pip", "install", "-q", "-U", "pip<22"], check=True)
                subprocess.run([f"{made}/bin/pip", "install", "-q", *packages], check=True)
            else:
                subprocess.run(["uv", "venv", "-q", "--clear", "-p", python, made], check=True)
                subprocess.run(["uv", "pip", "install", "-q", "-p", made, *packages], check=True)
            print(name)
            subprocess.run([f"{made}/bin/python", "-B", HERE / script, folder / name, *module], cwd=HERE, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
