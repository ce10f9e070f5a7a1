"""Results made readable: tables for terminals and Markdown, pictures."""
