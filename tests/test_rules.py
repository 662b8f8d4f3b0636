"""Each rule of an era against models that Keras saved just before and just after the rule changed."""

import bisect
from dataclasses import replace

import numpy as np
import pytest
import rules

from gateprobe.errors import GateprobeError, UnsupportedModel
from gateprobe.graph import LayerRecord
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.model import opened
from gateprobe.readers import keras1
from gateprobe.replay import calls
from gateprobe.semantics import (
    KERAS_2_3,
    KERAS_3,
    RULES,
    TF_KERAS,
    DistributedMask,
    Line,
    MaskedOutput,
    Release,
    SamePadding,
    semantics_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")

CHANGES = [(rule, since) for rule, how in RULES.items() for since, _ in how.changes]
REFUSED = {
    "bias_goes_astray": "TensorFlow alone adds it there, and the file does not name the backend",
    "halves_round_weights": "not replayed",
    "resizes_with_tensorflow": "the backends differ, and the file does not name its own",
    "resize_half_pixels": "TensorFlow 1.14 and 1.15 differ, and both say 2.2.4-tf; standalone Keras is not replayed",
    "cntk_dot": "what CNTK makes of short vectors is not certain",
    "cntk_lstm": "from Keras 2.2.3 on it returns its cell state",
    "dim_ordering_unsaid": "no layer says the order of dimensions",
    "stacked_states_given": "TensorFlow 1.10 and 1.12 differ, and both say 2.1.6-tf",
    "stacked_states_returned": "TensorFlow 1.10 and 1.12 differ, and both say 2.1.6-tf",
    "stacked_states_emitted": "TensorFlow 1.10 and 1.12 differ, and both say 2.1.6-tf",
    "calls_share_states": "their order is not certain",
    "group_norm_in_input_dtype": "half precision of Keras 3.7 to 3.14 is not replayed",
    "group_norm_rounds_weights": "not replayed",
    "bidirectional_zeroes_masked": "TensorFlow 2.1 and 2.2 differ, and both say 2.3.0-tf",
    "bidirectional_keeps_states": "TensorFlow 1.15 and 2.0 differ, and a file fits both",
    "models_cast_inputs": "fractions are no token ids",
    "graph_may_train": "random",
    "single_codes_mix": "samples are not mixed",
    "softmax_sees_mask_of_its_input": "TensorFlow 2.3 and 2.4 differ, and both say 2.4",
}
"""Rules by which some models are refused on one side of a change."""
UNSEEN = {
    (
        "gru_reset_after",
        Release(Line.TF_KERAS, 4),
        "before",
    ): "tf.keras names the key in every file: this is for edited ones",
    (
        "gru_reset_after",
        Release(Line.TF_KERAS, 4),
        "after",
    ): "tf.keras names the key in every file: this is for edited ones",
    ("distributed_mask", KERAS_3, "after"): "a mask of three axes, which no layer after it takes",
    ("bias_goes_astray", Release(Line.KERAS_3, 7), "after"): "convolutions alone do in 3.7; an EinsumDense is refused",
    ("explicit_mask_goes_on", KERAS_3, "after"): "the graph of Keras 3.0 to 3.3 names every mask that a layer reads",
    ("null_mask_hides", KERAS_3, "after"): "the graph of Keras 3.0 to 3.3 names every mask that a layer reads",
    ("resizes_with_tensorflow", KERAS_3, "after"): "refused, since the file does not name the backend",
    ("calls_share_states", Release(Line.TF_KERAS, 4), "before"): "refused, since the order is not certain",
    ("models_cast_inputs", TF_KERAS, "before"): "Keras cuts off fractions of token ids, which are refused",
    ("group_norm_sees_mask", KERAS_3, "before"): "TensorFlow fails in most shapes",
    (
        "bidirectional_keeps_states",
        Release(Line.TF_KERAS, 3),
        "before",
    ): "TensorFlow 2.0 does what 2.1 does, and is refused, since 1.15 does not",
    (
        "resize_half_pixels",
        Release(Line.TF_KERAS, 3),
        "before",
    ): "TensorFlow 2.0 does what 2.1 does, and is refused, since 1.14 does not",
    ("conv_recurrent_activation", KERAS_3, "after"): "no file lacks it, and this one cannot be taken out",
    ("softmax_sees_mask", Release(Line.TF_KERAS, 4), "before"): "its Softmax takes no mask",
    ("dot_any_rank", KERAS_2_3, "before"): "Keras fails to save it",
    ("halves_round_weights", KERAS_3, "before"): "Keras 2 is covered by test_conformance",
    ("single_codes_mix", KERAS_3, "after"): "refused, since it mixes the samples",
    ("single_codes_mix", Release(Line.KERAS_3, 4), "before"): "refused, since it mixes the samples",
    ("graph_may_train", KERAS_3, "before"): "refused, since the outputs are random",
    ("weight_order", TF_KERAS, "before"): "tests/test_weight_order.py has the goldens, and the like of this test",
    ("weight_order", TF_KERAS, "after"): "tests/test_weight_order.py has the goldens, and the like of this test",
    ("weight_order", KERAS_3, "before"): "tests/test_weight_order.py has the goldens, and the like of this test",
    ("weight_order", KERAS_3, "after"): "tests/test_weight_order.py has the goldens, and the like of this test",
}
"""Sides of changes of which no model shows the rule: (rule, release since which it holds, side) → why."""


def sides(rule, since):
    """Return the names of the models recorded by the last release before a change, and by the first one after it."""
    place = bisect.bisect_left(rules.RELEASES, since)
    wanted = {"before": rules.RELEASES[place - 1], "after": rules.RELEASES[place]}
    recorded = [name for name in rules.names() if name.endswith(f"/{rule}")]
    return {side: [name for name in recorded if rules.release(name) == release] for side, release in wanted.items()}


@pytest.mark.parametrize("name", rules.names())
def test_a_model_gives_what_its_keras_computed(name):
    rule = name.rpartition("/")[2]
    try:
        ours, theirs = rules.replayed(name)
    except GateprobeError:
        assert rule in REFUSED
        return
    for one, other in zip(ours, theirs, strict=True):
        limit = 1e-10 if other.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(one, other, rtol=0, atol=limit * max(1, np.nanmax(np.abs(other))))


@pytest.mark.parametrize(("rule", "since"), CHANGES, ids=lambda value: value if isinstance(value, str) else str(value))
def test_a_model_on_each_side_of_a_change_shows_the_rule(rule, since):
    values = {"before": RULES[rule].at(before(since)), "after": RULES[rule].at(since)}
    for side, recorded in sides(rule, since).items():
        if (rule, since, side) in UNSEEN:
            continue
        assert recorded, f"record a model for {rule} {side} {since} with tests/data/generate/rules.py"
        other = values["after" if side == "before" else "before"]
        agreeing = [name for name in recorded if rules.agrees(name, **{rule: other})]
        assert agreeing != recorded, f"{recorded} do not notice {rule}={other}"


THEANO = {
    "theano": {"theano": False},
    "theano_conv_lstm": {"theano": False},
    "theano_even_window": {"same_padding": SamePadding.AS_NEEDED},
    "theano_masks": {"masked_output": MaskedOutput.CARRIED_STATE},
    "theano_pooling": {"same_padding": SamePadding.AS_NEEDED},
    "theano_strides": {"same_padding": SamePadding.AS_NEEDED},
}


@pytest.mark.parametrize(("model", "elsewhere"), THEANO.items())
def test_the_backend_decides_what_a_model_of_theano_computes(model, elsewhere):
    recorded = [name for name in rules.names() if name.endswith(f"-theano/{model}")]
    assert len(recorded) == 3
    assert not [name for name in recorded if rules.agrees(name, **elsewhere)]


def test_a_negative_slope_of_an_srelu_ends_on_theano_where_the_line_after_it_does():
    assert rules.agrees("1.2.2/srelu")
    assert rules.agrees("1.2.2-theano/srelu")
    assert not rules.agrees("1.2.2/srelu", theano=True)
    assert not rules.agrees("1.2.2-theano/srelu", theano=False)


def test_cntk_pads_as_all_others_where_they_agree_and_is_refused_elsewhere():
    """The windows of ``theano`` are not padded, those of ``theano_strides`` have an odd size and strides."""
    assert rules.agrees("2.1.6-theano/theano", same_padding=SamePadding.UNCERTAIN)
    for model in ("theano_strides", "theano_even_window", "theano_pooling"):
        with pytest.raises(GateprobeError, match="CNTK"):
            rules.replayed(f"2.1.6-theano/{model}", same_padding=SamePadding.UNCERTAIN)


def test_an_lstm_that_returns_its_cell_state_on_cntk_is_refused():
    assert rules.agrees("2.1.6-cntk/cntk_lstm")
    assert not rules.agrees("2.3.1-cntk/cntk_lstm", emits_hidden_state=True)
    with pytest.raises(GateprobeError, match=r"CNTK backend from Keras 2\.2\.3"):
        rules.replayed("2.3.1-cntk/cntk_lstm")
    for model in ("cntk_unrolled", "cntk_masks"):
        assert rules.agrees(f"2.3.1-cntk/{model}")


def test_cntk_adds_the_epsilon_of_a_normalization_after_the_root_in_some_releases():
    for release, after in (("2.1.6", True), ("2.3.1", False)):
        assert rules.agrees(f"{release}-cntk/cntk_normalization")
        assert not rules.agrees(f"{release}-cntk/cntk_normalization", epsilon_after_root=not after)


@pytest.mark.parametrize(
    ("version", "emits", "after"),
    [
        ("2.1.2", True, False),
        ("2.1.3", True, True),
        ("2.2.0", True, True),
        ("2.2.1", True, False),
        ("2.2.2", True, False),
        ("2.2.3", False, False),
    ],
)
def test_what_cntk_does_depends_on_the_release(version, emits, after):
    """By ``rnn`` and ``batch_normalization`` in ``keras/backend/cntk_backend.py`` of each release."""
    origin = opened(rules.model_of("2.1.6-cntk/cntk_lstm")).graph.origin
    found = semantics_of(replace(origin, keras_version=version))
    assert (found.emits_hidden_state, found.epsilon_after_root) == (emits, after)


def test_a_masked_timestep_on_cntk_is_refused_where_the_backends_differ():
    assert rules.agrees("2.1.6-theano/theano", masked_output=MaskedOutput.UNCERTAIN)
    with pytest.raises(GateprobeError, match="CNTK backend returns"):
        rules.replayed("2.1.6-theano/theano_masks", masked_output=MaskedOutput.UNCERTAIN)


@pytest.mark.parametrize("release", ["2.1.6", "2.3.1"])
def test_a_normalising_dot_on_cntk_is_refused(release):
    assert not rules.agrees(f"{release}-cntk/cntk_dot", dot_norm_floor=1e-6)
    with pytest.raises(GateprobeError, match="short vectors"):
        rules.replayed(f"{release}-cntk/cntk_dot")


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("tf1.4.1/masked_output", {"masked_output": MaskedOutput.PREVIOUS_OUTPUT}),
        ("tf1.12.3/masked_output", {"masked_output": MaskedOutput.PREVIOUS_OUTPUT}),
        ("tf1.4.1/distributed_mask_made", {"distributed_mask": DistributedMask.COMPUTED}),
        ("tf1.12.3/distributed_mask_made", {"distributed_mask": DistributedMask.UNSEEN}),
    ],
)
def test_the_first_versions_of_tf_keras_do_what_standalone_keras_did(name, later):
    assert rules.agrees(name)
    assert not rules.agrees(name, **later)


@pytest.mark.parametrize("name", ["stacked_states_given", "stacked_states_returned", "stacked_states_emitted"])
def test_two_releases_of_one_name_list_the_states_of_stacked_cells_in_two_orders(name):
    early, late = f"tf1.10.1/{name}", f"tf1.12.3/{name}"
    assert rules.release(early) == rules.release(late)
    assert rules.agrees(early, stacked_states_reversed=True)
    assert rules.agrees(late, stacked_states_reversed=False)
    assert not rules.agrees(early, stacked_states_reversed=False)
    assert not rules.agrees(late, stacked_states_reversed=True)
    for one in (early, late):
        with pytest.raises(GateprobeError, match=r"TensorFlow 1\.10 and 1\.12 differ"):
            rules.replayed(one)


@pytest.mark.parametrize("release", ["tf1.10.1", "tf1.12.3"])
def test_stacked_cells_are_replayed_where_the_order_of_their_states_does_not_matter(release):
    assert rules.agrees(f"{release}/stacked_states_unseen")


def test_files_of_one_version_that_interpolate_differently_are_refused():
    with pytest.raises(GateprobeError, match=r"TensorFlow 1\.13 to 2\.0 do not tell"):
        rules.replayed("tf2.0.4/resize_half_pixels")


@pytest.mark.parametrize("backend", ["1.2.2", "1.2.2-theano"])
def test_an_order_of_dimensions_that_keras_1_does_not_save_is_that_of_the_other_layers(backend):
    assert rules.agrees(f"{backend}/dim_ordering")
    assert rules.agrees(f"{backend}/dim_ordering_of_volumes")
    with pytest.raises(UnsupportedModel, match=r"config\.dim_ordering") as refused:
        rules.replayed(f"{backend}/dim_ordering_unsaid")
    assert len(refused.value.refusals) == 3


def test_layers_that_disagree_tell_no_order_of_dimensions():
    padding = {"class_name": "ZeroPadding2D", "config": {"padding": [1, 1]}}
    pooled = [{"class_name": "MaxPooling2D", "config": {"dim_ordering": ordering}} for ordering in ("th", "tf")]
    assert keras1.with_orderings([pooled[0], padding])[1]["config"]["dim_ordering"] == "th"
    assert keras1.with_orderings([*pooled, padding])[2]["config"]["dim_ordering"] == "unsaid"
    given = {"class_name": "ZeroPadding2D", "config": {"padding": [1, 1], "dim_ordering": "tf"}}
    assert keras1.with_orderings([pooled[0], given])[1] == given


def before(release):
    return rules.RELEASES[bisect.bisect_left(rules.RELEASES, release) - 1]


def test_there_are_gates_of_every_line_of_releases():
    lines = {rules.release(name).line for name in rules.names() if "forget_gate" in rules.arrays(name)}
    assert lines == set(Line)


def test_a_stateful_bidirectional_beside_another_stateful_layer_in_a_nested_model_is_refused():
    found = opened(rules.model_of("2.2.4/bidirectional_keeps_states"))
    (both,) = [record for record in found.record.layers if record.class_name == "Bidirectional"]
    alone = LayerRecord("inner", "Model", {}, model=found.record)
    calls.refuse_mixed_states(alone, found.semantics)
    plain = replace(both.children["layer"][0], name="lstm_2")
    beside = replace(alone, model=replace(found.record, layers=(*found.record.layers, plain)))
    with pytest.raises(Unsupported, match="beside another stateful layer"):
        calls.refuse_mixed_states(beside, found.semantics)
    calls.refuse_mixed_states(beside, replace(found.semantics, bidirectional_keeps_states=True))
