"""The fields that bodies, forms and archives share, each with what is taken."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

MAX_TTL_SECONDS = 10 * 365 * 24 * 3600

# A lone surrogate cannot be written as UTF-8 again, control characters and reversed text forge lines of logs, and what
# has no width makes two labels of one. Joiners and marks of direction are part of emoji and of many scripts.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
_BLANK = re.compile("[\\s\u200c-\u200f\ufe0e\ufe0f]+")


def _printable(text: str) -> str:
    if found := _UNPRINTABLE.search(text):
        raise PydanticCustomError(
            "unprintable", "contains the unprintable character U+{code}", {"code": f"{ord(found[0]):04X}"}
        )
    if _BLANK.fullmatch(text):
        raise PydanticCustomError("unprintable", "contains nothing that can be seen")
    return text


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_type", "should be a number")
    return value


def _integer(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("int_type", "should be an integer")
    return value


def _true_or_false(value: object) -> object:
    if str(value).lower() not in ("true", "false"):  # generated clients of Python write True and False
        raise PydanticCustomError("bool_type", "should be true or false")
    return value


FormBoolean = Annotated[bool, BeforeValidator(_true_or_false)]
"""As the document says of a boolean: not the `1`, `on`, `yes` that pydantic would also take."""

JsonNumber, JsonInteger = BeforeValidator(_number), BeforeValidator(_integer)
"""Of a JSON body's numbers, for which pydantic would also take `true` and `"1"`; in a form all is text."""

Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
    Field(description="What the picture shows.", examples=["cat"]),
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_printable)]
ModelName = Annotated[
    str,
    Field(
        max_length=64,
        description="A model's name; or `auto`: of at most eight, which all encode the examples, the one that labels "
        "them best when each is left out in turn.",
        examples=["omniglot-protonet"],
    ),
]
TtlSeconds = Annotated[int, Field(ge=1, le=MAX_TTL_SECONDS, description="The classifier is deleted after so long.")]
Vector = Annotated[
    list[Annotated[float, JsonNumber]],
    Field(min_length=1, max_length=4096, description="As many numbers as the model's card says (`input.numbers`)."),
]
Base64Image = Annotated[
    str,
    Field(
        min_length=1,
        description="A picture (JPEG, PNG, WebP, GIF, BMP or TIFF) as base64 or a `data:` URI; never a web address.",
        json_schema_extra={"contentEncoding": "base64"},
    ),
]
