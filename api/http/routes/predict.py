"""POST /predict and POST /predict/batch: the faces of one image, or of several in one call to the model server."""

from time import perf_counter

from fastapi import APIRouter, BackgroundTasks, Request, Response

from api.http import openapi
from api.http.callers import PredictCaller
from api.http.dependencies import AskedDep, OptionsDep, QueryDep
from api.http.negotiation import JSON, WantedDep
from api.http.pictures import annotated
from api.http.problems import noted
from api.http.rendering import answer_out, photos_out
from api.http.schemas import BatchResponse, FileFaces, FileProblem, PredictResponse, Problem
from api.http.state import MetricsDep, PredictorDep, SettingsDep
from api.http.uploads import read_batch, read_image

BATCH_PATH = "/predict/batch"

router = APIRouter(tags=["predict"])


@router.post(
    "/predict",
    summary="Emotions of every face in one image",
    response_model=PredictResponse,
    responses=openapi.PICTURES | openapi.PREDICT_PROBLEMS,
    openapi_extra={"requestBody": openapi.IMAGE_BODY},
)
async def predict(
    request: Request,
    response: Response,
    predictor: PredictorDep,
    asked: AskedDep,
    options: OptionsDep,
    query: QueryDep,
    caller: PredictCaller,
    wanted: WantedDep,
    background: BackgroundTasks,
) -> PredictResponse | Response:
    """Send the image as form field `file`, as the raw body, or as base64 in JSON.

    JPEG, PNG, WebP, AVIF, GIF and BMP are recognised by content, and HEIC where its extra is installed. Boxes are in
    pixels of the image as it is seen, that is after its EXIF orientation was applied.

    A request that names no model, version or label takes part in the running experiment, if there is one. The header
    that the experiment names (`X-Subject-ID` by default) says who asks: the same subject gets the same variant.

    `Accept: image/png` or `image/jpeg` gets the photo with boxes, numbers and emotions drawn on it.
    """
    start = perf_counter()
    image = await read_image(request, predictor.pool)
    prediction = await predictor.predict([image], options, asked, caller=caller.share, return_exceptions=False)
    background.add_task(predictor.record, prediction, perf_counter() - start)
    if wanted != JSON:
        return await annotated(predictor, image, prediction, wanted, query.lang, caller.share, background)
    response.headers["Vary"] = "Accept"
    [photo] = photos_out(prediction)
    return PredictResponse(**answer_out(prediction, start), **photo)


@router.post(
    BATCH_PATH,
    summary="Emotions of every face in several images",
    responses=openapi.BATCH_PROBLEMS,
    openapi_extra={"requestBody": openapi.BATCH_BODY},
)
async def predict_batch(
    request: Request,
    settings: SettingsDep,
    metrics: MetricsDep,
    predictor: PredictorDep,
    asked: AskedDep,
    options: OptionsDep,
    caller: PredictCaller,
    background: BackgroundTasks,
) -> BatchResponse:
    """Send the images as form field `files`, repeated: each gets its faces or its problem, in that order."""
    start = perf_counter()
    uploads = await read_batch(request, settings.max_batch_files)
    images = [upload.content for upload in uploads]
    prediction = await predictor.predict(images, options, asked, caller=caller.share, return_exceptions=True)
    results: list[FileFaces | FileProblem] = []
    outcomes = zip(uploads, prediction.photos, photos_out(prediction), strict=True)
    for index, (upload, photo, found) in enumerate(outcomes):
        if isinstance(photo, Exception):
            problem = Problem(**noted(photo, metrics).problem())
            results.append(FileProblem(index=index, filename=upload.filename, problem=problem))
        else:
            results.append(FileFaces(index=index, filename=upload.filename, **found))
    response = BatchResponse(**answer_out(prediction, start), results=results)
    background.add_task(predictor.record, prediction, perf_counter() - start)
    return response
