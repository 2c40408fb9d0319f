"""Does Linux handle a packet on the CPU that received it?"""

__version__ = "0.1.0"
