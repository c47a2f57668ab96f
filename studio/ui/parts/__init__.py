"""Small parts that several tabs use.

HTML is made from jinja2 templates: ``<role>.html`` stands beside the ``<role>.py`` that fills it and holds a macro for each
piece that view draws; ``parts/macros.html`` holds those that several views share. :mod:`studio.ui.parts.html` renders them.
"""
