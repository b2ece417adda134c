"""A vector search service as people write it on FastAPI and asyncpg: what `bench/vectors` compares with.

The vector goes as text, metadata comes as text and is parsed, models check the request and make the answer.
BENCH_URL and BENCH_TABLE say where the points are, BENCH_EF how wide the graph is searched.
"""

import json
import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

TABLE = os.environ["BENCH_TABLE"]
KEY = os.environ.get("BENCH_KEY", "bench")
EF_SEARCH = os.environ.get("BENCH_EF", "100")


async def prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("vector", encoder=str, decoder=str, schema="public", format="text")


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.pool = await asyncpg.create_pool(
        os.environ["BENCH_URL"],
        min_size=2,
        max_size=10,
        init=prepare,
        # Not by SET: the pool resets what was set whenever a connection comes back.
        server_settings={"hnsw.ef_search": EF_SEARCH},
    )
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


class Query(BaseModel):
    vector: list[float]
    top_k: int = 10
    namespace: str = ""


class Match(BaseModel):
    id: str
    score: float
    metadata: dict


class Answer(BaseModel):
    matches: list[Match]


async def caller(authorization: str = Header()) -> str:
    if authorization != f"Bearer {KEY}":
        raise HTTPException(401)
    return "bench"


@app.get("/health")
async def health() -> dict:
    return {"status": "ok"}


@app.post("/query", response_model=Answer)
async def query(body: Query, _: str = Depends(caller)) -> Answer:
    vector = "[" + ",".join(map(str, body.vector)) + "]"
    async with app.state.pool.acquire() as connection:
        rows = await connection.fetch(
            f"SELECT id, 1 - (embedding <=> $1) AS score, metadata FROM {TABLE} WHERE namespace = $2"
            " ORDER BY embedding <=> $1 LIMIT $3",
            vector,
            body.namespace,
            body.top_k,
        )
    return Answer(
        matches=[
            Match(id=row["id"], score=row["score"], metadata=json.loads(row["metadata"])) for row in rows
        ]
    )
