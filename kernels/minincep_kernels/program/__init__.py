"""Programs: a list of steps over one block of memory, run by one compiled function.

A network answers in a few hundred steps, many of them shorter than what it takes Python to call a
kernel.  So the steps are rows of a table (`step`), and one function (`run`) goes through them, on
all threads, without ever returning to Python in between.  `minincep.plan` writes programs; a
convolution variant is a program of one step.
"""
