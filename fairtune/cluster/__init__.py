"""The stale searches and trainings on a Ray cluster, each in a folder of its own on a node."""
