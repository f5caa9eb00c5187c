"""The training loop and what it needs: evaluation, stored teacher outputs, checkpoints."""
