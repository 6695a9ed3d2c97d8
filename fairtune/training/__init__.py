"""One training from start to finish, its loop, its predictions and its record.

`start` comes before torch is imported. `run` then goes through a `job`: `loop` trains (`batches`,
`plan`, `settings`, `trainer`, `watch`), `prediction` tests, `weights` saves, `inference` measures
speed, and `recording` writes down what was seen.
"""
