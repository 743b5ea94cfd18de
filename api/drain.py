"""What the gateway knows of its own end."""


class Drain:
    """active: it has been told to stop. It still serves, but /readyz says no and connections are not kept alive."""

    def __init__(self) -> None:
        self.active = False
