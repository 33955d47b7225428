"""The tables: what each path of each service is. Pure data."""
