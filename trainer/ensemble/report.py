"""An ensemble's methods and members side by side, on the terminal."""

from collections.abc import Sequence

from rich.table import Table

from trainer.ensemble.fit import FOLDS, Candidate


def candidate_table(members: Sequence[Candidate], methods: Sequence[Candidate], chosen: str) -> Table:
    """One row for each member on its own, then for each method with the weights that it gives the members.

    Args:
        members: evaluated one by one, in the order of the weights.
        methods: the ways to combine them.
        chosen: the name of the method to mark.
    """
    count = methods[0].metrics.count
    table = Table(
        title=f"{count:,} PublicTest images, {FOLDS}-fold cross-validated, temperature fitted",
        caption="weights and temperature: fitted on all images",
    )
    table.add_column("")
    for heading in ("accuracy", "log-loss", "ECE", "temperature"):
        table.add_column(heading, justify="right")
    table.add_column("weights")
    for member in members:
        table.add_row(*_row(member), "")
    table.add_section()
    for method in methods:
        weights = method.rule.weights
        names = [member.name for member in members]
        shares = (
            "one vote each; cannot be exported: it has no gradient to explain"
            if weights is None
            else ", ".join(f"{name} {share:.2f}" for name, share in zip(names, weights, strict=True) if share > 0)
        )
        table.add_row(*_row(method), shares, style="bold" if method.name == chosen else "")
    return table


def _row(candidate: Candidate) -> list[str]:
    metrics = candidate.metrics
    figures = (metrics.accuracy, metrics.log_loss, candidate.ece)
    return [candidate.name, *(f"{figure:.4f}" for figure in figures), f"{candidate.rule.temperature:.2f}"]
