"""Parameters and form fields that several routes take."""

from typing import Annotated

from fastapi import File, Form, Header, Path, Query, UploadFile
from pydantic import WithJsonSchema

from service.fields import ModelName, Name, TtlSeconds

ClassifierId = Annotated[str, Path(max_length=64, examples=["clf_5f0c8a1e9b7d4c2f6a3e1d0b"])]
ExampleId = Annotated[str, Path(max_length=64, examples=["exm_0b5e3f7a1c9d2e4f6a8b0c1d"])]
# A header or a query is left out, never null: clients that were told otherwise send the text “null”.
IfMatch = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "maxLength": 500}),
    Header(
        alias="If-Match",
        max_length=500,
        description="The `ETag` of the classifier as you read it: the request is refused with 412 if it has changed.",
    ),
]
LimitQuery = Annotated[int, Query(ge=1, le=100, description="How many on this page.")]
CursorQuery = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "maxLength": 200}),
    Query(max_length=200, description="`next_cursor` of the page before."),
]
LabelsField = Annotated[
    list[str],
    Form(
        min_length=1,
        description="One label a file, in the files' order: repeated fields, one JSON array, one JSON object "
        "filename → label, or one string joined by commas or line breaks.",
    ),
]
FilesField = Annotated[list[UploadFile], File(min_length=1, description="Pictures: JPEG, PNG, WebP, GIF, BMP or TIFF.")]
ArchiveField = Annotated[UploadFile, File(description="A zip of `label/name.jpg`.")]
# Swagger UI fills forms with the examples, or with values of its own making where there are none.
ModelField = Annotated[ModelName | None, Form(examples=["omniglot-protonet"])]
NameField = Annotated[Name | None, Form(description="Yours to recognize it by.", examples=["my classifier"])]
TtlField = Annotated[TtlSeconds | None, Form(examples=[86400])]
AdaptField = Annotated[
    str | None,
    Form(
        max_length=1000,
        description="How to adapt, as one JSON object, within the limits of the model's card (`adapt`): "
        '`{"steps": 5}`, `{"rate": 0.5}` or both.',
        examples=["{}"],  # the default model takes no options
    ),
]
