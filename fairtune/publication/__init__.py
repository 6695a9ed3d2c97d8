"""Finished studies in results/: written whole, of one part or several, and computed anew."""
