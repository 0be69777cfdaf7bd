"""Question-answering benchmarks: annotations and videos in, figures that can be made again out.

infer → judge → score → report

Each stage is a function of the files before it and can be run again alone. A run is a folder:

    run.json            what makes the run what it is; another run is never mixed into it
    plan.sqlite         the rows of the split, read once
    problems.jsonl      what was wrong with the annotations, row by row
    predictions*.jsonl  one line an answer, appended
    judgements.jsonl    one line a verdict, appended
    scores.csv          one line a row
    score.json          every figure, with its spread
    report.md .csv .html
"""
