"""McNemar's test: two models that are right or wrong on the same rows; only rows where they differ tell them apart."""

from __future__ import annotations

import math

from llm.statistics.comparison import COVERAGE

METHOD = "exact McNemar test (McNemar 1947), interval of Bonett and Price 2012"


def p_at_least(wins: int, losses: int) -> float:
    """P(X >= wins) for X binomial(wins + losses, 1/2): one-sided exact p-value that the winner is better.

    McNemar 1947, exact form: given how many rows differ, each is a fair coin when the models are equally good. 1.0
    without such rows.
    """
    from scipy.stats import binom

    return float(binom.sf(wins - 1, wins + losses, 0.5))


def interval(wins: int, losses: int, *, rows: int) -> tuple[float, float]:
    """95 % interval of the difference between two paired shares, from -1 to 1.

    Bonett and Price 2012, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
    Data", eq. 6: one is added to each count of rows that differ, so that it has a width without any.
    """
    from scipy.stats import norm

    better, worse = (wins + 1) / (rows + 2), (losses + 1) / (rows + 2)
    spread = math.sqrt((better + worse - (better - worse) ** 2) / (rows + 2))
    reach = float(norm.isf((1 - COVERAGE) / 2)) * spread
    return max(-1.0, better - worse - reach), min(1.0, better - worse + reach)


def detectable(discordant: int, *, rows: int, level: float, power: float) -> float | None:
    """The smallest difference of shares that the test finds at `level` with `power`.

    discordant: how many rows differ when the models are equally good; a real difference of d rows makes d more differ.
    Of n rows that differ the test asks for `critical` wins, exactly; wins less losses have a variance of at most n
    (Miettinen 1968), so that d = 2 critical - n + z_power * sqrt(n).

    None: so few rows can show no difference.
    """
    from scipy.stats import binom, norm

    # With fewer rows that differ than this, not even all of them won would be enough.
    fewest = math.ceil(-math.log2(level))
    difference, differing = 0, 0
    # Ends, since what is needed grows as the square root of how many rows differ.
    while differing < max(discordant + difference, fewest):
        differing = max(discordant + difference, fewest)
        if differing > rows:
            return None
        critical = int(binom.isf(level, differing, 0.5)) + 1
        difference = math.ceil(2 * critical - differing + float(norm.ppf(power)) * math.sqrt(differing))
    return difference / rows
