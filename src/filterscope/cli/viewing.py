"""Commands that show what was drawn: view, compare."""

from __future__ import annotations

from pathlib import Path

import click

from filterscope.cli.options import quiet_option


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--token", help="What drawing needs [made anew where --host reaches beyond this machine].")
@quiet_option
def view(folder: Path, host: str, port: int, token: str | None, quiet: bool) -> None:
    """Serve an atlas in the browser and draw units on demand, until Ctrl-C.

    Pages open without this too, from DIR/index.html; the viewer adds drawing with any recipe, watched step by step.
    Whoever has the token can draw; where the viewer is bound to this machine alone none is needed.

    \b
    filterscope view out/atlas
    """
    if token is not None and not token.strip():
        raise click.BadParameter("a token cannot be empty", param_hint="--token")
    from filterscope.atlas.viewer import view as serve

    serve(
        folder,
        host=host,
        port=port,
        token=token,
        on_ready=lambda url: None if quiet else click.echo(f"{folder} is at {url} (Ctrl-C ends)"),
    )
