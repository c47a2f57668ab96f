"""One pane of Compare: what it shows, which run answers in it, and what is drawn below its answer."""
