"""Generators that ship with the package; each is loaded by name from the table in `generation`."""
