"""Reports of runs: sections of figures as Markdown, CSV and one HTML page with its pictures."""
