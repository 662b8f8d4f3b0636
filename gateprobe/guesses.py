"""What one tries in Python, coming from Keras, NumPy or pandas, and what does it here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateprobe.errors import by_word, nearest

PACKAGE: Mapping[str, str] = {
    "gateprobe.read('model.keras')": "load load_model open open_model from_file from_keras keras file inspect",
    "gateprobe.read('model.keras').trace(x)": "dump run gates states activations get_activations tracer",
    "gateprobe.read('model.keras').predict(x)": "predict",
    "gateprobe.read('model.keras').weights()": "weights get_weights",
    "gateprobe.read('model.keras').summary()": "summary info",
    "gateprobe.read('model.keras').stats(x)": "stats statistics",
    "gateprobe.read('model.keras').track(x, signal)": "track follow",
    "gateprobe.read('model.keras').explain(x)": "explain",
    "gateprobe.read('model.keras').trace(x).plot()": "plot draw",
    "gateprobe.read('model.keras').trace(x).report('report.html')": "report",
    "gateprobe.migrate('old.h5')": "convert upgrade",
    "gateprobe.load_trace('trace.npz')": "read_trace open_trace from_npz from_csv from_parquet",
}
"""What does it → what is tried as an attribute of the package."""

MODEL: Mapping[str, str] = {
    "recurrent_layers, and summary()": "layers get_layer layer lstm layer_names",
    "inputs": "input input_shape input_names",
    "outputs": "output output_shape output_names",
    "weights()": "get_weights weight kernel recurrent_kernel bias variables state_dict",
    "trace(x)": "run forward dump gates states activations call get_activations replay",
    "trace(x).plot()": "plot draw heatmap",
    "trace(x).report('report.html')": "report html",
    "gateprobe.verify(model, x)": "verify check",
    "gateprobe.compare_port(model, x, 'port.csv')": "compare diff",
    "gateprobe.migrate(model)": "migrate convert save export",
    "file, era and notes": "name path version keras_version",
}
"""What does it → what is tried as an attribute of a model."""

TRACE: Mapping[str, str] = {
    "list(trace), and trace['lstm'] of a layer": "layers layer names recurrent_layers layer_names",
    "trace['lstm'].forget_gate of a layer": "signals gates states forget_gate input_gate output_gate candidate "
    "cell_state hidden_state",
    "trace['lstm'].forget_gate.shape": "shape ndim dtype size",
    "trace['lstm'].forward.units": "units",
    "trace['lstm'].forward.timesteps": "timesteps steps time",
    "trace['lstm'].mask": "mask masked",
    "to_polars() or to_pandas()": "df to_df dataframe to_dataframe data table frame head describe",
    "to_numpy()": "numpy array arrays to_dict as_dict to_array asdict",
    "to_xarray()": "xarray ds to_dataset dataset",
    "save('trace.csv')": "to_csv to_parquet to_npz to_hdf to_json to_feather to_netcdf to_excel write export dump",
    "model.explain(x, ...), which needs the weights": "explain ledger",
    "trace[:5] for samples, and model.trace(x, units=0, timesteps=slice(0, 10)) for the rest": "sel isel select loc "
    "iloc filter query",
    "plot()": "show draw heatmap",
    "model.trace(x, with_input=True)": "input inputs x",
    "model.predict(x)": "output outputs predict",
}
"""What does it → what is tried as an attribute of a trace."""

SIGNALS: Mapping[str, str] = {
    "choose a signal, such as .forget_gate.shape": "shape ndim dtype size T mean max min std sum numpy",
    "trace.to_polars() of the whole trace": "df to_df to_polars to_pandas dataframe to_dataframe",
    "trace.to_numpy() of the whole trace": "to_numpy to_dict",
    "trace.save('trace.csv') of the whole trace": "save to_csv to_parquet",
}
"""What does it → what is tried as an attribute of a layer or a direction in a trace."""


def way(name: object, ways: Mapping[str, str]) -> str | None:
    """Return what does what was tried, ``None`` where that is not known."""
    return by_word(ways).get(name) if isinstance(name, str) else None


def no_attribute(what: str, name: str, ways: Mapping[str, str], there: Iterable[str] = ()) -> AttributeError:
    """Return the error for an attribute that is not there, with what was likely meant.

    Args:
        what: Whose attribute it would be, such as ``a trace``.
        name: What was tried.
        ways: As in this module's tables.
        there: The attributes that there are.
    """
    answer = way(name, ways) or nearest(name, [one for one in there if not one.startswith("_")])
    return AttributeError(f"{what} has no {name!r}{f'; use {answer}' if answer else ''}")
