"""The solver's race against other ways to the same curves, its growth laws and its ceiling.

Seconds are CPU seconds of all threads, from one process; they are only reported. What tests can
hold on to are work counters and fitted exponents.
"""
