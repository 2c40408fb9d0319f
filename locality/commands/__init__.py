"""The commands: options to a source and its sinks; no logic."""
