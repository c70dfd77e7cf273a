class CannotPrune(ValueError):
    """A removal that would change what a model computes, or that nothing can express; ``where`` names the operator."""

    def __init__(self, message: str, where: str):
        super().__init__(message)
        self.where = where
