"""The model that a method trains: loaded, adapted, counted and audited."""
