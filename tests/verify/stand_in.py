"""A stand-in for Keras: another replay gives the answers, with faults planted in them."""

from dataclasses import replace

from gateprobe.model import opened
from gateprobe.replay.batch_size import DEFAULT_ROWS
from gateprobe.verification import backends, installed_rules
from gateprobe.verification import run as module
from gateprobe.verification.job import Answer, KerasCall, KerasRun
from gateprobe.verification.replay import ReplayOptions, Subject, replay

VERSION = "2.21.0"


def answering(monkeypatch, *models, change=lambda number, run: run, weights=None):
    """Let the n-th set of inputs be answered by the n-th model, the last one for all further sets.

    Args:
        monkeypatch: Of the test.
        models: Read by gateprobe.
        change: Called with the number of each set and the answer to it; returns the answer to give.
        weights: What Keras says that it holds.
    """

    def ask(job, tell=None):
        runs = []
        for number, run in enumerate(job.runs):
            model = models[min(number, len(models) - 1)]
            inputs = dict(zip(job.inputs, run.inputs, strict=True))
            subject = Subject(opened(model).graph, opened(model).semantics)
            runs.append(
                change(number, _as_keras(replay(subject, inputs, ReplayOptions(model.inputs, DEFAULT_ROWS)), run))
            )
        return Answer(VERSION, "tensorflow 2", None, tuple(runs), weights or {})

    monkeypatch.setattr(module, "ask", ask)
    pretend_that_keras_is_installed(monkeypatch)
    monkeypatch.setattr(module, "spoken", lambda semantics, origin, version: semantics)


def pretend_that_keras_is_installed(monkeypatch):
    monkeypatch.setattr(installed_rules, "installed_version", lambda library, extra="keras": VERSION)
    monkeypatch.setattr(backends, "is_installed", lambda package: True)


def _as_keras(answer, run):
    calls = [
        KerasCall(one.layer, one.layer, one.direction, one.backwards, "LSTM", dict(one.signals), one.mask)
        for one in answer.traces.values()
    ]
    if len(run.inputs) == 1:
        calls[0] = replace(calls[0], given={"input": run.inputs[0]})
    return KerasRun(tuple(calls), answer.outputs, frozenset())
