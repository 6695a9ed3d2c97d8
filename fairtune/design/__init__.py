"""The design of a study: how large, how long, and when it is looked at."""
