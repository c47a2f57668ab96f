"""What can be shown as one static page: no server, no request to anywhere. One module and one template each, in one frame."""
