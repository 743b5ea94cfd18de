"""POST /predict/batch: the faces of several images in one call to the model server."""

from time import perf_counter

from fastapi import APIRouter, BackgroundTasks, Request

from api.deadline import within
from api.errors import DeadlineExceeded, UploadTimeout
from api.http import openapi
from api.http.dependencies import AskedDep, GatewayDep, OptionsDep
from api.http.problems import as_service_error
from api.http.rendering import faces_out, image_out, model_out, timing_out
from api.http.schemas import BatchResponse, FileFaces, FileProblem, Problem
from api.http.uploads import read_batch
from api.outcomes.ids import new_id
from api.predictor import Gateway, ImageResult
from faces.finder import FoundFaces

PATH = "/predict/batch"

router = APIRouter(tags=["predict"])


@router.post(
    PATH,
    summary="Emotions of every face in several images",
    responses=openapi.BATCH_PROBLEMS,
    openapi_extra={"requestBody": openapi.BATCH_BODY},
)
async def predict_batch(
    request: Request, gateway: GatewayDep, asked: AskedDep, options: OptionsDep, background: BackgroundTasks
) -> BatchResponse:
    """Send the images as form field `files`, repeated: each gets its faces or its problem, in that order."""
    start = perf_counter()
    settings = gateway.settings
    async with within(settings.upload_timeout_s, UploadTimeout("The body took too long to arrive.")):
        uploads = await read_batch(request, settings.max_batch_files)
    late = DeadlineExceeded(f"No answer within {settings.request_timeout_s:g} s.")
    async with within(settings.request_timeout_s, late) as deadline:
        outcomes = await gateway.find_faces([upload.content for upload in uploads], options)
        found = [outcome for outcome in outcomes if isinstance(outcome, FoundFaces)]
        answer = await gateway.answer(found, asked, deadline)
    prediction = answer.prediction
    scored = iter(prediction.results)
    results = [
        _problem(gateway, index, upload.filename, outcome)
        if isinstance(outcome, Exception)
        else _faces(index, upload.filename, next(scored), prediction.classes)
        for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True))
    ]
    response = BatchResponse(
        id=new_id(),
        experiment=answer.experiment,
        variant=answer.variant,
        fallback=answer.fallback,
        model=model_out(answer),
        results=results,
        timing_ms=timing_out(prediction.stages_ms, perf_counter() - start),
    )
    background.add_task(gateway.conclude, answer, response.id, perf_counter() - start)
    return response


def _problem(gateway: Gateway, index: int, filename: str | None, outcome: Exception) -> FileProblem:
    error = as_service_error(outcome)
    gateway.metrics.count_error(error.slug)
    return FileProblem(index=index, filename=filename, problem=Problem(**error.problem()))


def _faces(index: int, filename: str | None, result: ImageResult, classes: tuple[str, ...]) -> FileFaces:
    return FileFaces(index=index, filename=filename, image=image_out(result), faces=faces_out(result, classes))
