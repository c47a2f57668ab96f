"""The demo that walks once through the studio, and a short tour of each tab: a card that points at the page's own buttons."""
