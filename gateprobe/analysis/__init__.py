"""What a trace shows: statistics, units that follow a signal, one step explained. Values in, values out."""
