# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A web server whose page shows a worker's previews as they come.

    pip install fastapi uvicorn numpy pillow
    python server.py --ranks 2 --port 8000
"""

import argparse
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse
from painter import Painter
from rankcall import DistributedRunner


def make_app(ranks):
    runner = DistributedRunner(Painter, world_size=ranks)

    @asynccontextmanager
    async def life(app):
        async with runner:
            yield

    app = FastAPI(lifespan=life)

    @app.get("/", response_class=HTMLResponse)
    async def page():
        return Path(__file__).with_name("page.html").read_text()

    @app.get("/stream")
    async def stream(colours: int = 8, steps: int = 12):
        payload = {"colours": max(2, min(colours, 64)), "steps": max(1, min(steps, 100))}
        return StreamingResponse(runner.stream(payload, as_text_events=True), media_type="text/event-stream")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(make_app(options.ranks), host=options.host, port=options.port)
