"""The parts of a report: page, figures, statistics. Knows no kind of measurement."""
