"""What a model does on a prompt, printed."""

from rich.text import Text

from sparselex.base.formats import plain
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.recipes.pinned_records import PIN_KINDS, Measure, PinKind, Pinned
from sparselex.recipes.prompt_records import Ablated, Changed, Steered


def print_ablated(found: Ablated) -> None:
    """Print a line for each token of the prompt, and what the model predicts next with and without the latent."""
    is_zero = not any(token.to for token in found.tokens)
    table = WideTable(
        f"{'without' if is_zero else 'another activation of'} latent {found.latent}; KL and loss are of the token that "
        "comes next, nats",
        ("token", "activation", *([] if is_zero else ["becomes"]), "KL", "loss rises by", "changes most"),
    )
    for token in found.tokens:
        rise = "" if token.loss is None else f"{token.loss:+.3g}"
        changed = _said(token.changed[0]) if token.kl > 0 and token.changed else ""
        becomes = [] if is_zero else [f"{token.to:.3g}"]
        said = (f"{token.activation:.3g}", *becomes, f"{token.kl:.3g}", rise, changed)
        table.add_row(f"{token.position} {token.text!r}", *said)
    console = console_of()
    console.print(table)
    if not any(token.activation or token.to for token in found.tokens):
        console.print(Text(f"latent {found.latent} is active at none of these tokens: nothing was taken away."))
    last = found.tokens[-1]
    if last.kl > 0:
        console.print(Text(plain(f"behind the prompt: {'; '.join(map(_said, last.changed))}")))


def print_steered(found: Steered) -> None:
    """Print both texts, one under the other, and by how much was steered."""
    console = console_of()
    for name, text in (("plain", found.plain), ("steered", found.steered)):
        console.print(Text(name, style="bold"))
        console.print(Text(plain(found.prompt), style="dim"), Text(plain(text)), sep="")
    for name, one in (("plain", found.plain_written), ("steered", found.steered_written)):
        again = "" if one.repeated is None else f"; {one.repeated:.0%} of its pieces of four tokens repeat themselves"
        console.print(Text(f"{name}: {one.loss:.3g} nats a token under the model itself{again}", style="dim"))
    by = ", ".join(f"{one:.4g}" for one in found.by)
    console.print(Text(f"steered by {by}; mean KL of the prompt's predictions {found.kl:.3g} nats", style="dim"))


def print_pinned(found: Pinned) -> None:
    """Print the texts of each sample, one under the other, and how good they are on average."""
    console = console_of()
    names: dict[PinKind, str] = {
        "plain": "plain",
        "pinned": f"latent {found.latent} held at {found.value:.4g}",
        "beside": f"latent {found.beside} held at {found.beside_value:.4g}",
    }
    for number, sample in enumerate(found.samples, 1):
        for kind in PIN_KINDS:
            console.print(Text(f"{number}. {names[kind]}", style="bold"))
            console.print(Text(plain(found.prompt), style="dim"), Text(plain(getattr(sample, kind).text)), sep="")
    title = f"means of {len(found.samples)} samples; a text is read with nothing held"
    columns = ("", f"active: {found.latent}", "its tokens", "loss", "repeated", "KL")
    table = WideTable(title, columns)
    for kind, kl in zip(PIN_KINDS, (0.0, found.kl, found.beside_kl), strict=True):
        measures: tuple[Measure, ...] = ("active_share", "raised_share", "loss", "repeated")
        active, raised, loss, again = (found.mean(kind, measure) for measure in measures)
        share = lambda value: "" if value is None else f"{value:.1%}"
        table.add_row(names[kind], share(active), share(raised), f"{loss:.3g}", share(again), f"{kl:.3g}")
    console.print(table)
    shown = " ".join(repr(one) for one in found.raised[:8])
    console.print(Text(plain(f"tokens that latent {found.latent} raises: {shown}"), style="dim"))


def _said(changed: Changed) -> str:
    return f"{changed.text!r} {changed.before:.3f} → {changed.after:.3f}"
