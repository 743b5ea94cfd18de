"""An ensemble's methods and members side by side, on the terminal."""

from collections.abc import Sequence

from rich.table import Table

from trainer.ensemble.fit import FOLDS, Outcome


def outcome_table(members: Sequence[Outcome], methods: Sequence[Outcome], chosen: str) -> Table:
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
    for outcome in members:
        table.add_row(*_row(outcome), "")
    table.add_section()
    for outcome in methods:
        weights = outcome.rule.weights
        names = [member.name for member in members]
        shares = (
            "one vote each; cannot be exported: it has no gradient to explain"
            if weights is None
            else ", ".join(f"{name} {share:.2f}" for name, share in zip(names, weights, strict=True) if share > 0)
        )
        table.add_row(*_row(outcome), shares, style="bold" if outcome.name == chosen else "")
    return table


def _row(outcome: Outcome) -> tuple[str, str, str, str, str]:
    metrics = outcome.metrics
    return (
        outcome.name,
        f"{metrics.accuracy:.4f}",
        f"{metrics.log_loss:.4f}",
        f"{outcome.ece:.4f}",
        f"{outcome.rule.temperature:.2f}",
    )
