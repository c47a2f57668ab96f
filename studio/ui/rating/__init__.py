"""The *Rate* tab and the voting page."""
