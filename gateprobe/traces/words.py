"""The names of signals: in full, as a letter, and what other programs and papers call them."""

from __future__ import annotations

from collections.abc import Container, Mapping

from gateprobe.errors import by_word

SIGNAL_ORDER = (
    "input_gate",
    "forget_gate",
    "update_gate",
    "reset_gate",
    "candidate",
    "output_gate",
    "cell_state",
    "hidden_state",
)
"""Order of columns when layers of several kinds stand in one table; ``pre_`` signals follow in the same order."""

ALIASES = {"i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate", "c": "cell_state",
           "h": "hidden_state", "z": "update_gate", "r": "reset_gate"}  # fmt: skip
"""Letters that are taken wherever a signal is named."""

EITHER = "z"
"""The candidate in papers on the LSTM (Greff et al. 2017), the update gate of a GRU."""

_SYNONYMS: Mapping[str, str] = {
    "input_gate": "i it i_t ig input inputgate in_gate gate_i igate i_gate",
    "forget_gate": "f ft f_t fg forget forgetgate gate_f fgate f_gate",
    "candidate": "g gt g_t j jt c_tilde ctilde c_hat c_bar cbar c~ c_t_tilde ct_tilde c_tilde_t candidate_gate "
    "cell_gate gate_g g_gate "
    "cell_candidate new_gate n nt n_t h_tilde h_hat htilde new_input c_in block_input",
    "output_gate": "o ot o_t og outputgate out_gate gate_o ogate o_gate",
    "cell_state": "c ct c_t cell state_c memory cell_states c_state carry",
    "hidden_state": "h ht h_t hidden state_h out output outputs y hidden_states h_state",
    "update_gate": "u ut u_t update z_gate gate_z update_z",
    "reset_gate": "r rt r_t reset resetgate gate_r r_gate",
    EITHER: "z zt z_t",
}
OTHERS: Mapping[str, str] = by_word(_SYNONYMS) | {name: name for name in SIGNAL_ORDER}
"""What other programs call a signal → its name, or `EITHER`."""


def in_full(name: str) -> str:
    """Return the name of a signal for its letter, with ``pre_`` or without; any other text as it is."""
    plain = name.removeprefix("pre_")
    return name[: len(name) - len(plain)] + ALIASES.get(plain, plain)


def signal_key(name: object, there: Container[str]) -> str | None:
    """Return the one of some signals that a key names, in full or by its letter; ``None`` where there is none."""
    if not isinstance(name, str):
        return None
    return name if name in there else full if (full := in_full(name)) in there else None
