"""What a run leaves behind: its folder, log, model and predictions, and how networks are lent."""
