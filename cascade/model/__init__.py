"""Plain values every layer speaks in. Imports nothing of the project."""
