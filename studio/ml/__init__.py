"""Models: loading, chatting, training, measuring and scoring. The one floor that knows torch, which is imported inside functions.

Jobs and settings come in as frozen types of :mod:`studio.domain`, events go out through a callback; nothing here knows of
run folders or of the page. One package per feature; an import goes to the left only, never to a neighbour in the same
group::

    zerogpu < models lora < training < chat < measure < reward < dpo scorers lengths < kto detox shipped
"""
