"""The figures that models and baselines are judged by; the same functions serve both."""
