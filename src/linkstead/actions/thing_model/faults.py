"""What the actions of this chapter share: how what is wrong with a thing model is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from linkstead.errors import ApiError, codes
from linkstead.registry import ProductGone, ProductReleased
from linkstead.tsl import DuplicateError, ModelError

Read = TypeVar("Read")


def read_text(parameter: str, text: str, read: Callable[[str], Read]) -> Read:
    """Read a thing model that stands in a parameter.

    Raises:
        ApiError(BATCH_CREATE_THING_MODEL_FAILED, THING_MODEL_NAME_DUPLICATED): it breaks a rule; the place in the text
            and the rule are told.
    """
    try:
        return read(text)
    except ModelError as error:
        raise _refuse(error, f"{parameter}.{error.path}" if error.path else parameter) from None


@contextmanager
def refusing(product_key: str, parameter: str) -> Iterator[None]:
    """Tell what goes wrong with the draft of a product, which what stands in `parameter` is to change.

    Raises:
        ApiError(BATCH_CREATE_THING_MODEL_FAILED, THING_MODEL_NAME_DUPLICATED): the draft would break a rule.
        ApiError(NOT_EXISTED_PRODUCT): the product was deleted meanwhile.
        ApiError(BATCH_CREATE_THING_MODEL_FAILED): the product is released.
    """
    try:
        yield
    except ModelError as error:
        raise _refuse(error, error.path or parameter) from None
    except ProductGone:
        raise ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=product_key) from None
    except ProductReleased:
        # Source of the code: ours; the references of ReleaseProduct and PublishThingModel name none.
        raise ApiError(
            codes.BATCH_CREATE_THING_MODEL_FAILED, ProductKey=product_key, rule="CancelReleaseProduct first"
        ) from None


def _refuse(error: ModelError, place: str) -> ApiError:
    # Source of the codes: `cloud-api.md` 10 (our choice).
    is_duplicate = isinstance(error, DuplicateError)
    row = codes.THING_MODEL_NAME_DUPLICATED if is_duplicate else codes.BATCH_CREATE_THING_MODEL_FAILED
    return ApiError(row, rule=f"{place}: {error.rule}")
