# What tests as EvalPlus publishes them use of numpy, for machines without it: they compare floats and nested lists of floats. Only the
# judge finds this file, and only where there is no numpy; a candidate that wants numpy has it or has not, as anywhere else.

import math


class ndarray:
    """No value here is one."""


float32 = float64 = float


def isclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False):
    if math.isnan(a) or math.isnan(b):
        return equal_nan and math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return a == b
    return abs(a - b) <= atol + rtol * abs(b)


def allclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False):
    if not isinstance(a, (list, tuple)) and not isinstance(b, (list, tuple)):
        return isclose(a, b, rtol, atol, equal_nan)
    if not isinstance(a, (list, tuple)):
        return all(allclose(a, item, rtol, atol, equal_nan) for item in b)
    if not isinstance(b, (list, tuple)):
        return all(allclose(item, b, rtol, atol, equal_nan) for item in a)
    if len(a) != len(b):
        raise ValueError("operands could not be broadcast together with shapes (%d,) (%d,)" % (len(a), len(b)))
    return all(allclose(x, y, rtol, atol, equal_nan) for x, y in zip(a, b))
