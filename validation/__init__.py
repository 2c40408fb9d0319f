"""Whether the numbers are true, measured on the machine it runs on and in guests.

What they cost is in `benchmarks/`.
"""
