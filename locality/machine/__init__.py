"""The machine: its CPUs and how far they are apart, its processes, its network devices."""
