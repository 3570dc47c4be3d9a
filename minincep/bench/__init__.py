"""The kernel laboratory: every variant of every operation, on the layers that the networks have.

`workloads` says what there is to measure, `arrays` makes the numbers, `verify` refuses what is
wrong, `measure` times what is right, `record` keeps it, `compare` tells two records apart.
"""
