"""From what a file says to what it computes: `plan` binds, `run` replays."""
