"""Whether one model is better than another, as a statistical decision over the rows that both answered."""
