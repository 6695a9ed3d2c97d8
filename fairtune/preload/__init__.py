"""Fork trainings from a process that holds their libraries, and end them with their run."""
