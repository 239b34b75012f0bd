"""Pages and tables: a toolbox from which each package that reports builds its own page."""
