"""The `ioe` command: its groups and their first help."""

from pathlib import Path

import click

from ioe_node.cli import (
    alerts,
    api,
    app,
    backup,
    bundle,
    chain,
    claim,
    community,
    credential,
    credit,
    data,
    demand,
    device,
    doctor,
    driver,
    key,
    market,
    meter,
    node,
    peers,
    policy,
    profile,
    reputation,
    warrant,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--home",
    envvar="IOE_HOME",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path.home() / ".ioe-node",
    show_default=True,
    help="The node's directory (or set IOE_HOME).",
)
@click.version_option(package_name="ioe-node")
@click.pass_context
def cli(context: click.Context, home: Path) -> None:
    """A node of the Internet of Energy.

    \b
    First steps of an owner:        First steps of a device:
      ioe init                        ioe init --role device --kind generator \\
      ioe run &                           --name roof --driver ... --option ...
      ioe community create street     ioe run
      ioe device list                   (shows its pairing code)
      ioe device claim roof 1234-5678

    \b
    Exit codes: 0 done, 1 refused here (the line says what to do), 2 wrong usage,
    3 refused by a peer, 4 not reachable (try again).
    """
    context.obj = home


cli.add_command(node.init)
cli.add_command(node.run)
cli.add_command(node.status)
cli.add_command(node.signals)
cli.add_command(doctor.doctor)
cli.add_command(backup.backup)
cli.add_command(backup.restore)
cli.add_command(alerts.alerts)
cli.add_command(api.page)
cli.add_command(api.api)
cli.add_command(bundle.bundle)
cli.add_command(device.device)
cli.add_command(driver.driver)
cli.add_command(key.key)
cli.add_command(policy.policy)
cli.add_command(meter.meter)
cli.add_command(credit.credit)
cli.add_command(market.market)
cli.add_command(app.app)
cli.add_command(demand.demand)
cli.add_command(chain.chain)
cli.add_command(community.community)
cli.add_command(peers.peers)
cli.add_command(warrant.warrant)
cli.add_command(claim.claim)
cli.add_command(credential.credential)
cli.add_command(profile.profile)
cli.add_command(reputation.reputation)
cli.add_command(data.data)
