"""Target files: the settings of a remote model that its URL does not contain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advbench.core.errors import UsageError, first_fault, unknown

SUFFIX = ".target.json"
LARGEST = 1 << 20  # bytes of a target file

Count = Annotated[int, Field(ge=1)]
Answers = Literal["logits", "probabilities", "labels"]


class TargetSettings(BaseModel):
    """Settings of one remote model; only `url` is required."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    url: str
    protocol: Literal["v2", "predict", "template"] | None = None  # by default what the URL looks like
    request: Any = None  # template: JSON in which "{{images}}", "{{image}}" or "{{png}}" marks the place of the pixels
    response: str | None = None  # template: the way to the outputs, like "results.*.scores"
    input: str | None = None  # name of the input tensor
    output: str | None = None  # name of the output tensor
    pixels: Literal["0..1", "0..255", "uint8"] | None = None  # uint8: whole numbers only
    answers: Answers | None = None
    classes: Annotated[int, Field(ge=2)] | None = None  # where answers are labels
    images_per_request: Count = 32
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0  # seconds for one whole answer
    retries: Annotated[int, Field(ge=0, le=20)] = 4  # of a request, where the target is busy or the line breaks
    longest_wait: Annotated[float, Field(ge=0, le=3600)] = 60.0  # seconds between two tries
    request_megabytes: Annotated[float, Field(gt=0, le=1024)] = 32.0
    response_megabytes: Annotated[float, Field(gt=0, le=1024)] = 8.0
    token_header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]{1,64}$")

    @classmethod
    def read(cls, path: Path) -> TargetSettings:
        """Read a target file.

        Parameters
        ----------
        path : Path
            The file, JSON.

        Returns
        -------
        TargetSettings
            Its settings.

        Raises
        ------
        UsageError
            In one line, when it can't be read, is not JSON, or has wrong or unknown settings.
        """
        try:
            if path.stat().st_size > LARGEST:
                raise UsageError(f"{path} is too large for a target file")
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise UsageError(f"can't read {path}: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise UsageError(f"{path} is not JSON") from None
        if not isinstance(document, dict):
            raise UsageError(f'{path} should be a JSON object like {{"url": "https://host/predict", ...}}')
        for key in document:
            if key not in cls.model_fields:
                raise unknown("setting of a target", key[:40], cls.model_fields)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise UsageError(f"{path}: {first_fault(error)}") from None
