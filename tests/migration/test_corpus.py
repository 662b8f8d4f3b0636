"""Every recorded old model, migrated, opens in Keras 3 and agrees: ``pytest -m corpus -s tests/migration``."""

import sys

import pytest
from migration.corpus import SHARED, table

REFUSED = {
    "tfa_0.20_tf2.12/basic_decoder/saved_model": "Keras 3 has no layer BasicDecoder",
    "tfkeras_2.15.0/act_cell/model.h5": "also on the cell state",  # --hard-sigmoid=registered writes it
    "tfkeras_2.15.0/act_cell/model.keras": "also on the cell state",
    "tfkeras_2.4.0/peephole/model.h5": "Keras 3 has no layer PeepholeLSTMCell",
}


@pytest.mark.corpus
@pytest.mark.oracle
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded models are not beside the project")
def test_every_old_model_is_opened_by_keras_3_and_computes_what_was_recorded(capsys):
    rows = table()
    with capsys.disabled():
        sys.stdout.writelines(f"\n{row}" for row in rows)
    assert {row.verdict for row in rows} == {"agrees", "refused", "-"}, "\n".join(map(str, rows))
    refused = {row.name: row.detail for row in rows if row.verdict == "refused"}
    assert refused.keys() == REFUSED.keys(), refused
    for name, reason in REFUSED.items():
        assert reason in refused[name]
    assert sum(row.verdict == "agrees" for row in rows) >= 2 * 123
