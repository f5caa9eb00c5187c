"""A stager as one zip file that runs without this package."""
