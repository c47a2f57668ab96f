"""Alignment Studio: change what a language model prefers, and see it happen.

Everything the program does is one turn of this wheel::

    preference pairs --dial--> DPO run --> adapter --> side-by-side answers --> measured stance
          ^                                                    |
          +---- train again <-- reward model <-- votes <-------+

Floors (imports only go down; ``tests/test_floors.py`` keeps it so)::

    app.py, studio/__main__.py      entries: join the floors, hold no logic
    studio/ui                       gradio only here; one package per tab or section
    studio/cli                      the commands of python -m studio
    studio/services                 plain Python: what a user can do, as functions
    studio/ml                       torch, transformers, trl, peft only here, imported inside functions
    studio/store                    sqlalchemy only here: pairs, votes, raters
    studio/domain, config, errors   the frozen types that cross floors, settings, what can go wrong

Below a floor stands one package per feature, the same word on each: ``ls studio/*/detox`` shows all of detox.
"""

__version__ = "0.1.0"
