"""POST /predict: the faces of one image."""

from time import perf_counter

from fastapi import APIRouter, BackgroundTasks, Request

from api.deadline import within
from api.errors import DeadlineExceeded, UploadTimeout
from api.http import openapi
from api.http.dependencies import AskedDep, GatewayDep, OptionsDep
from api.http.rendering import faces_out, image_out, model_out, timing_out
from api.http.schemas import PredictResponse
from api.http.uploads import read_image
from api.outcomes.ids import new_id

router = APIRouter(tags=["predict"])


@router.post(
    "/predict",
    summary="Emotions of every face in one image",
    responses=openapi.PREDICT_PROBLEMS,
    openapi_extra={"requestBody": openapi.IMAGE_BODY},
)
async def predict(
    request: Request, gateway: GatewayDep, asked: AskedDep, options: OptionsDep, background: BackgroundTasks
) -> PredictResponse:
    """Send the image as form field `file`, as the raw body, or as base64 in JSON.

    JPEG, PNG, WebP and BMP are recognised by content. Boxes are in pixels of the image as it is seen, that is
    after its EXIF orientation was applied.

    A request that names no model, version or label takes part in the running experiment, if there is one. The header
    that the experiment names (`X-Subject-ID` by default) says who asks: the same subject gets the same variant.
    """
    start = perf_counter()
    settings = gateway.settings
    async with within(settings.upload_timeout_s, UploadTimeout("The body took too long to arrive.")):
        image = await read_image(request, gateway.pool)
    late = DeadlineExceeded(f"No answer within {settings.request_timeout_s:g} s.")
    async with within(settings.request_timeout_s, late) as deadline:
        [found] = await gateway.find_faces([image], options)
        if isinstance(found, Exception):
            raise found
        answer = await gateway.answer([found], asked, deadline)
    prediction = answer.prediction
    [result] = prediction.results
    response = PredictResponse(
        id=new_id(),
        image=image_out(result),
        experiment=answer.experiment,
        variant=answer.variant,
        fallback=answer.fallback,
        model=model_out(answer),
        faces=faces_out(result, prediction.classes),
        timing_ms=timing_out(prediction.stages_ms, perf_counter() - start),
    )
    background.add_task(gateway.conclude, answer, response.id, perf_counter() - start)
    return response
