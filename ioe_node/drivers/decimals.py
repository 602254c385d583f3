"""Numbers that devices write as decimal text, exactly and within bounds (pure).

No float is made on the way, and what a hostile device writes costs no more than what an honest
one does: `1e9999999` is refused before anything is computed with it.
"""

import json
import re
from decimal import Decimal
from typing import NoReturn

# A terawatt-hour, in Wh: no device counts or draws so much, and no decimal gets out of hand.
QUANTITY_MAX = Decimal(10**12)
_PLAIN = re.compile(r"\s*[+-]?\d{1,18}(\.\d{0,18})?\s*", re.ASCII)


def parse_json(body: bytes) -> object:
    """JSON with its decimals as Decimal; ValueError for what is none."""
    try:
        value: object = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        raise ValueError("is not JSON") from None
    return value


def quantity(value: object) -> Decimal:
    """A number, or the text of one, as Decimal; ValueError for what is none or out of bounds."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        value = Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("is not a number")
    number = Decimal(value)
    # Compared, not computed with: the exponent of a hostile number overflows arithmetic.
    if not -QUANTITY_MAX <= number <= QUANTITY_MAX:
        raise ValueError("is out of all bounds")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
