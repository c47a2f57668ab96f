"""What the tabs of one page share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

#: For every event that is the page's own business: programs are not offered it.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
#: For ``js`` after a handler that filled a DownloadButton: one click makes the file and saves it, since the browser is sent
#: to the file's address once it is there.
SAVE = """(file) => {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
}"""


@dataclass(frozen=True)
class Shared:
    """Handles built by the shell and used by every tab.

    Attributes:
        visitor: ``gr.State`` with the page's :class:`studio.ui.access.Visitor`.
        tabs: the tab bar; a handler that returns ``gr.Tabs(selected="compare")`` to it switches tabs.
        compare_run: ``gr.State`` with a run id; a tab that sets it asks Compare to open that run beside the base
            (Compare listens to its ``change``).
        chats: what the visitor's own browser keeps of Compare. It stands outside the tabs: in a tab that is not open yet it
            would not have read the browser's storage when the page loads.
        align_run, reward_run: ``gr.State`` with a run id; a tab that sets it asks Align or Reward to open that run.
    """

    visitor: gr.State
    tabs: gr.Tabs
    compare_run: gr.State
    align_run: gr.State
    reward_run: gr.State
    chats: gr.BrowserState
