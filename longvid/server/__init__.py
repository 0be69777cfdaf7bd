"""The HTTP face: an OpenAI-compatible endpoint, a native API and a web page over stores.

    settings.py       what a server is told: stores, keys, folders, and every limit
    app.py            the application: routes, middleware, start and shutdown
    state.py          what the routes share: tables, workers, views of the stores
    auth.py           keys, sessions, roles, host and origin checks, rates
    api_errors.py     longvid's errors as HTTP answers in OpenAI's form
    requests.py       bodies of requests, read under limits
    slow_bodies.py    bodies that arrive too slowly are given up
    openapi_fields.py  what openapi.json says of requests
    streams.py        server-sent events
    model_worker.py   the process that holds the models, seen from the server
    model_process.py  the same process from inside
    answers.py        a question to evidence, text and the whole answer
    jobs.py           the job table, and what works on it
    index_worker.py   the process that indexes, seen from the server
    index_process.py  the same process from inside
    lifeline.py       processes end with the server
    job_routes.py     /api/jobs, /api/events
    files.py          files of clients
    upload_table.py   uploads in parts
    fetching.py       files from the network, fetched by a process of its own
    fetch_process.py  that process
    videos.py         videos that a request names; what is new is indexed first
    question_fields.py  what questions of both APIs have
    openai_parts.py   parts of OpenAI's messages: text, videos, images
    openai_request.py  OpenAI's requests as questions
    openai_reply.py   answers in OpenAI's shapes
    chat.py           /v1/models, /v1/chat/completions, /v1/decisions
    decisions.py      typed questions, answers with probabilities
    uploads.py        /v1/files, /v1/uploads
    library.py        /api: videos, search, ask, failures
    media.py          playback, clips, thumbnails, captions
    storyboards.py    sheets of pictures
    metrics.py        Prometheus counters
    static/           the page

The server's process never decodes and never imports torch: models and decoders live in processes
of their own.
"""
