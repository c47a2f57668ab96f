"""Start the Alignment Studio: ``python app.py [--host H] [--port P] [--share]``. Settings come from STUDIO_* variables."""

from studio.ui.launch import main

if __name__ == "__main__":
    main()
