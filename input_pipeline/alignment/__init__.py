"""Where a camera's clock stands against that of the PSG, found in what both saw of the sleeper."""
