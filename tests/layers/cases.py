"""All conformance cases. A registered class without a case fails ``test_conformance``.

Layers that step through time are left to ``test_recurrent``, ``test_goldens`` and ``differential``, unless they have
cases here, too; other classes that are tested elsewhere are listed in ``TESTED_ELSEWHERE`` with the place.
"""

from __future__ import annotations

from layers.case import Case
from layers.table_conv import CONV
from layers.table_core import CORE
from layers.table_media import MEDIA
from layers.table_more_operations import MORE_OPERATIONS
from layers.table_operations import OPERATIONS
from layers.table_recurrent import RECORDED, RECURRENT
from layers.table_tf import TENSORFLOW
from layers.table_tf_nodes import TENSORFLOW_NODES

CASES: tuple[Case, ...] = (
    *RECURRENT,
    *CORE,
    *CONV,
    *MEDIA,
    *OPERATIONS,
    *MORE_OPERATIONS,
    *TENSORFLOW,
    *TENSORFLOW_NODES,
)

TESTED_ELSEWHERE: dict[str, str] = {
    **RECORDED,
    "Highway": "layers/test_legacy_layers.py",
    "MaxoutDense": "layers/test_legacy_layers.py",
    "ParametricSoftplus": "layers/test_legacy_layers.py",
    "SReLU": "layers/test_legacy_layers.py",
    "GroupedQueryAttention": "layers/test_versions.py",
    "BatchNormalizationV1": "layers/test_versions.py",
    "BatchNormalizationV2": "layers/test_versions.py",
    "SyncBatchNormalization": "layers/test_versions.py",
    "SimpleRNNCell": "test_recurrent.py",
    **dict.fromkeys(("BroadcastTo", "Cholesky", "InTopK", "Logdet"), "layers/operation_grid.py"),
    "Full": "layers/test_operations.py",
    "BasicDecoder": "layers/test_decoder.py",
    "Pipeline": "test_media.py",
    **dict.fromkeys(
        ("Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"), "test_text.py"
    ),
}
