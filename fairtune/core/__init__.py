"""What every room needs: parameters, errors, files, paths, terminal; imports no other."""
