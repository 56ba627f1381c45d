"""FastAPI as most people begin: a plain endpoint in its thread pool, a forward pass a request. A reference."""

from typing import Annotated

import classifier
import uvicorn
from fastapi import FastAPI, File

app = FastAPI()
preprocess, model = classifier.Preprocessing(), classifier.model()


@app.post("/classify")
def classify(file: Annotated[bytes, File()]) -> list[float]:
    """A form with a picture → probabilities."""
    (probabilities,) = model(preprocess(file)[None])
    return probabilities


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=classifier.PORT)
