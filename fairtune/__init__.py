"""Compare ways of fine-tuning a transformer encoder for text classification, fairly.

The modules directly in this package are commands: ``python -m fairtune.<name> --help``. The
packages are the rooms that data passes, from the parameters (`core`) to the report.
"""

from fairtune.core import interruption as interruption  # it answers Ctrl-C from here on
from fairtune.core import quiet as quiet  # before any library that reads what it sets
