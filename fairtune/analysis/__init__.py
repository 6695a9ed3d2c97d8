"""What the runs support: verdicts, intervals, costs, quality and fairness. Imports no torch."""
