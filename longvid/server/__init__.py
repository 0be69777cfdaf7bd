"""The HTTP face: an OpenAI-compatible endpoint, a native API and a web page over stores.

    settings.py       what a server is told: stores, keys, folders, and every limit
    app.py            the application: routes, middleware, start and shutdown
    auth.py           keys, sessions, roles, host and origin checks, rates
    api_errors.py     longvid's errors as HTTP answers in OpenAI's form
    model_worker.py   the process that holds the models, seen from the server
    model_process.py  the same process from inside
    jobs.py           the job table and the processes that index
    index_process.py  one indexing job
    files.py          uploads, whole and in parts
    openai_wire.py    OpenAI's requests -> questions
    openai_reply.py   answers -> OpenAI's shapes
    chat.py           /v1/models, /v1/chat/completions, /v1/decisions
    library.py        /api: videos, jobs, search, ask, failures
    media.py          playback, clips, thumbnails, storyboards, captions
    metrics.py        Prometheus counters

The server's process never decodes and never imports torch: models and decoders live in processes
of their own.
"""
