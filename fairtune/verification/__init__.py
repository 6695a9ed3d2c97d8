"""Runs held against those that Git keeps, and figures against the runs; no stage depends on it.

`committed` reads the runs of a revision, `agreement` compares them row by row, `differences` says
what else is not the same, `figures` computes the metrics and charts anew, `answer` prints it all.
"""
