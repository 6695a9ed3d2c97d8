"""One file a chart: the records that the pipeline keeps, and the figure drawn from them."""
