"""Where batches go.

========== =====================================================================
text       readable lines and the summary
classic    the lines of 2017, byte for byte
json_lines one JSON object a line
csv_rows   comma-separated values
recorder   an Arrow IPC stream that can be read again
dashboard  a live screen: screen and frame draw, dashboard_* have the contents
picture    what a console printed, as SVG
columns    an accept batch as columns of Python values, for the three above
========== =====================================================================

A sink has a `write(batch)`; see `locality.stream.Sink`.
"""
