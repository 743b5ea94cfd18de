"""What became of predictions: stored behind the answer, joined with feedback, deleted after the retention time."""
