"""One runnable file for each stage of the pipeline: ``python -m stages.<stage>``."""
