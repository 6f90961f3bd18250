"""The training loop: schedule, optimizer, checkpoints, early stopping."""
