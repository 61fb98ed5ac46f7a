"""From the forward pass of a model to the symmetries of its parameters.

`recording` writes down every operation that PyTorch runs; `scales` gives every axis of every
parameter a free scale and follows it through the operations; `shifts` follows from the outputs
backwards what may be added without being seen; `families` turns what is left into laws. An
operation without a rule is taken for an arbitrary function of all its inputs, which can only lose
laws.
"""
