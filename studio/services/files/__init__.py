"""Reading and writing files: records, CSV, zips, Markdown."""
