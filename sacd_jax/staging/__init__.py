"""Staging a night from its video alone: the stager, what it says, the files and the page."""
