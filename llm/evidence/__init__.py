"""What an evaluation shows besides its metrics: samples, worst and best cases, calibration, attention, pictures."""
