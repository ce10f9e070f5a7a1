"""Reports of results and gates: terminal tables, Markdown, LaTeX, HTML, figures and formats for CI."""
