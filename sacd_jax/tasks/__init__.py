"""What one step of a training does: a pure function of (state, batch)."""
