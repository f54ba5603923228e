"""The coefficient of an L1 penalty, from one convention to the other.

Training multiplies a site of width n by s, so that E|x|² = n, and sums the squared error over the n coordinates:
`L = |s x - s x̂|² + l1 Σ s f`, since contributions grow with what they reconstruct. Towards Monosemanticity averages it
and leaves activations as they are: `L' = |x - x̂|² / n + λ Σ f`. So L = s² n L' for every dictionary where l1 = λ n s,
and both have the same minimum.
"""


def l1_of_raw(coefficient: float, width: int, scale: float) -> float:
    """The coefficient for a squared error summed over `width` coordinates of activations multiplied by `scale`, from
    one for the mean squared error of raw activations."""
    return coefficient * width * scale


def raw_of_l1(l1: float, width: int, scale: float) -> float:
    """The other way."""
    return l1 / (width * scale)
