"""The page: the one floor that knows gradio. It asks the services and shows what they answer.

One package per tab or section, ``page`` and ``parts`` for what several of them share, ``shell`` for the page as a whole; an
import goes to the left only, never to a neighbour in the same group::

    start_checks page < parts < guide training evaluations votes < sweeps < align detox rating reward < library toxicity stage < compare < addresses < shell < launch
"""
