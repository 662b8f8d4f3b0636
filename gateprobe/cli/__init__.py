"""The command line: one thin file for each command, imported when it is used.

A new command is a module here with a click command of its name (``stats.py`` with ``def stats``) and one row in
`COMMANDS`. Commands return their exit status: nothing or 0 when done, 1 when numbers disagree; every refusal is an
exception, which `Program` turns into one line and status 2.
"""

from __future__ import annotations

from gateprobe.cli.program import Program
from gateprobe.errors import by_word

COMMANDS = {
    "inspect": "Show what is in a model file and what can be replayed, or what a trace holds.",
    "dump": "Write gates and states, as CSV to stdout or to files.",
    "stats": "Summarise gates and states: saturation, time constants, units that stand out.",
    "track": "Find the units that follow a signal you give.",
    "plot": "Draw gates and states, in the terminal or to .png, .svg, .pdf and .html.",
    "report": "Write an interactive page: one file that asks nothing of the network.",
    "explain": "Show one timestep of one unit as a worked equation, or who wrote its state.",
    "weights": "Split the weights of recurrent layers by gate, in any gate order.",
    "predict": "Write the model's outputs, replayed.",
    "verify": "Step the real Keras beside the replay and compare every gate.",
    "compare": "Compare a port with its model, or two traces, and name the mistake.",
    "golden": "Write golden vectors for a port, with a C checker.",
    "migrate": "Say what changes in today's Keras, and write a clean Keras 3 file.",
}
"""Name and short help of every command, in the order of the help text."""

_OTHERS = {
    "inspect": "show info describe list ls cat view print layers model keras",
    "dump": "trace run export extract gates states activations get write csv",
    "stats": "statistics summarise summarize saturation hist units",
    "track": "follow find correlate correlation probe",
    "plot": "draw picture image heatmap chart view",
    "report": "html page web browser serve",
    "explain": "why step ledger attribute unit",
    "weights": "kernel bias params parameters",
    "predict": "infer inference output outputs eval evaluate call",
    "verify": "check test validate keras",
    "compare": "diff cmp",
    "golden": "vectors c testvectors",
    "migrate": "convert upgrade update port keras3 save",
}
"""Command → what others call it, for those who try that."""
main = Program(
    COMMANDS,
    by_word(_OTHERS),
    name="gateprobe",
    help="See inside a Keras LSTM: every gate, at every timestep, from the saved file alone.",
    epilog=(
        "'gateprobe COMMAND -h' shows the options and examples of a command.\n\n"
        "Exit status: 0 done, or the numbers agree; 1 the numbers disagree; 2 refused; 130 interrupted.\n\n"
        "More: README.md and docs/, also for completion in bash, zsh and fish."
    ),
)
