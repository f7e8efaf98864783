"""The commands: flags, and one call each into the library."""
