"""Reports for people: terminal, Markdown, HTML, CSV."""
