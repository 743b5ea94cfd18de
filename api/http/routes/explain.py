"""POST /explain: what in each face speaks for its emotion."""

import base64
from collections.abc import Sequence
from time import perf_counter

from fastapi import APIRouter, BackgroundTasks, Request, Response

from api.http import openapi
from api.http.callers import PredictCaller
from api.http.dependencies import AskedDep, OptionsDep, QueryDep
from api.http.negotiation import JSON, WantedDep
from api.http.pictures import annotated
from api.http.rendering import answer_out, photos_out
from api.http.schemas import BoxOut, ExplainedFace, ExplainResponse
from api.http.state import PredictorDep
from api.http.uploads import read_image
from api.pictures.colour import write
from api.pictures.heat import Tile, heat_tile
from faces.finder import Face, FoundFaces

router = APIRouter(tags=["predict"])


@router.post(
    "/explain",
    summary="What in each face speaks for its emotion",
    response_model=ExplainResponse,
    responses=openapi.HEAT_PICTURES | openapi.EXPLAIN_PROBLEMS,
    openapi_extra={"requestBody": openapi.IMAGE_BODY},
)
async def explain(
    request: Request,
    response: Response,
    predictor: PredictorDep,
    asked: AskedDep,
    options: OptionsDep,
    query: QueryDep,
    caller: PredictCaller,
    wanted: WantedDep,
    background: BackgroundTasks,
) -> ExplainResponse | Response:
    """Send the image as to `/v1/predict`; a form may also name its field `image`. Each face comes back with a heat map.

    The heat map is Grad-CAM of the likeliest emotion: where a change would change its score most. It says what the
    network looked at, not why a person looks as they do. An explanation is not recorded and counts in no experiment.
    """
    start = perf_counter()
    image = await read_image(request, predictor.pool, also=("image",))
    prediction = await predictor.predict(
        [image], options, asked, caller=caller.share, return_exceptions=False, count=False
    )
    predictor.measure(prediction)
    heat = await predictor.explain(prediction)
    if wanted != JSON:
        return await annotated(predictor, image, prediction, wanted, query.lang, caller.share, background, heat)
    [photo] = prediction.photos
    assert isinstance(photo, FoundFaces)

    def draw(found: Sequence[Face]) -> list[tuple[Tile, str]]:
        tiles = [heat_tile(values, face.square, face.box) for values, face in zip(heat, found, strict=True)]
        return [(tile, base64.b64encode(write(tile.picture, "image/png")).decode()) for tile in tiles]

    drawn = await predictor.pool.run(draw, photo.faces, cost=0.002 * len(photo.faces), caller=caller.share)
    [shown] = photos_out(prediction)
    faces = [
        ExplainedFace(
            **face.model_dump(),
            heatmap=encoded,
            heatmap_box=BoxOut(x=tile.box.x, y=tile.box.y, width=tile.box.width, height=tile.box.height),
        )
        for face, (tile, encoded) in zip(shown["faces"], drawn, strict=True)
    ]
    response.headers["Vary"] = "Accept"
    answer = {key: value for key, value in answer_out(prediction, start).items() if key != "id"}
    return ExplainResponse(**answer, image=shown["image"], detection=shown["detection"], faces=faces)
