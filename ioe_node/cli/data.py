"""`ioe data`: the open data sets that the profile driver plays."""

import click

from ioe_node.cli.output import console


@click.group()
def data() -> None:
    """Open data: real homes for the profile driver and the simulator."""


@data.command()
@click.pass_context
def fetch(context: click.Context) -> None:
    """Fetch the 17 real homes of a year (CityLearn 2.1.2, MIT licence) and cache them.

    Hourly load and PV in kWh; set IOE_DATA to choose the folder.
    """
    from ioe_node.drivers.citylearn import fetch

    fetch(say=console.print)
