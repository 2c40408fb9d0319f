"""Metrics for Prometheus, read from the kernel's counters when they are asked for."""
