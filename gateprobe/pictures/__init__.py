"""Charts and pages of what `gateprobe.analysis` finds."""
