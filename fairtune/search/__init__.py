"""Trials of learning rates, with one budget for all methods, as many at once as a device bears.

`grid` lays the rates, `trial` is one training that is validated and not tested, `pool` runs trials
beside one another (`room` says how many, `sharing` lets them compute at the same time on a GPU),
`store` keeps what is finished, and `run` brings them together.
"""
