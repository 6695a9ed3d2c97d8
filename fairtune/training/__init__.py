"""One training from start to finish, its loop, its predictions and its record."""
