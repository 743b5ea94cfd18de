"""POST /classifyImage: the annotated picture, as the tutorial's server answered. New clients ask /v1/predict."""

from time import perf_counter

from fastapi import APIRouter, BackgroundTasks, Request, Response

from api.http import openapi
from api.http.callers import PredictCaller
from api.http.dependencies import AskedDep, OptionsDep, QueryDep
from api.http.pictures import annotated
from api.http.state import PredictorDep
from api.http.uploads import read_form_image

router = APIRouter(tags=["predict"])


@router.post(
    "/classifyImage",
    summary="The photo, annotated",
    response_class=Response,
    responses=openapi.PICTURE | openapi.CLASSIFY_PROBLEMS,
    openapi_extra={"requestBody": openapi.IMAGE_FORM},
)
async def classify_image(
    request: Request,
    predictor: PredictorDep,
    asked: AskedDep,
    options: OptionsDep,
    query: QueryDep,
    caller: PredictCaller,
    background: BackgroundTasks,
) -> Response:
    """Send the photo as form field `image`; a PNG comes back. Otherwise it is `POST /v1/predict` with that `Accept`."""
    start = perf_counter()
    image = await read_form_image(request, "image")
    prediction = await predictor.predict([image], options, asked, caller=caller.share, return_exceptions=False)
    background.add_task(predictor.record, prediction, perf_counter() - start)
    return await annotated(predictor, image, prediction, "image/png", query.lang, caller.share, background)
