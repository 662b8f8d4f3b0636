"""Classes of Keras that are not replayed, each with its reason: refusals and ``docs/support.md`` speak from here.

``tests/layers/test_gap.py`` compares these tables and the registry with what the installed Keras has, so that a class
of a new Keras is either replayed or listed.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateprobe.errors import by_word
from gateprobe.graph import Namespace

_BASE = "is a base class that no model holds"
_CODE = "holds or names code, which gateprobe never runs"


LAYERS: Mapping[str, str] = by_word(
    {
        _BASE: "Layer Wrapper",
        _CODE: "FlaxLayer JaxLayer Lambda TFSMLayer TorchModuleWrapper",
        "reads feature columns of TensorFlow's estimators, which no later Keras has; replace it by preprocessing "
        "layers such as StringLookup and Normalization and save again": "DenseFeatures SequenceFeatures",
    }
)
"""Class → why no layer of this class is replayed."""

OPERATIONS: Mapping[str, str] = by_word(
    {
        _BASE: "Function Operation SegmentReduction",
        "calls functions, which stand in no file": """
            AssociativeScan Cond ForiLoop JVP Map Scan Switch VectorizedMap WhileLoop
        """,
        "draws random numbers": "ElasticTransform",
        "is given its settings in a wrong order by Keras, where it fails": "ConvTranspose",
        "makes one number or tensor of all samples of a batch": """
            AllClose Corrcoef Correlate Diag Diagflat Histogram Lstsq Meshgrid Ndim Nonzero PSNR Size
            Unique Vdot
        """,
        "joins or reorders samples, or finds them by number": """
            Flipud MapCoordinates Scatter ScatterUpdate SegmentMax SegmentMin SegmentProd SegmentSum Vsplit Vstack
        """,
        "makes a tensor without samples, which Keras computes when the model is built": "Arange",
        "gives complex numbers, which are not replayed": "Eig Polar ViewAsComplex ViewAsReal",
        "has several right results, of which TensorFlow's own choice is not documented": "Argpartition Eigh LuFactor",
        "computes a loss, which Keras takes from what the operation before it was given": """
            BinaryCrossentropy CTCDecode CTCLoss CategoricalCrossentropy SparseCategoricalCrossentropy
        """,
        "gives its steps an axis that the signs of its start have not: Keras fails or mixes samples": "Geomspace",
    }
)
"""Class of ``keras.ops`` → why no node of this class is replayed."""

_TABLES: Mapping[Namespace, Mapping[str, str]] = {Namespace.LAYER: LAYERS, Namespace.OPERATION: OPERATIONS}


def reason_of(namespace: Namespace, class_name: str) -> str | None:
    """Return why a class is not replayed; ``None`` where no table tells."""
    return _TABLES.get(namespace, {}).get(class_name)
