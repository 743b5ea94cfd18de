"""What can be wrong with a file."""


class VideoError(Exception):
    """A file that is no video, or a video that cannot be written; its text is one line for the user."""
