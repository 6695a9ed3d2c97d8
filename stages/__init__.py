"""One runnable file for each stage of the pipeline: ``python -m stages.<stage>``."""

import fairtune as fairtune  # it answers Ctrl-C from here on, and quiets libraries
