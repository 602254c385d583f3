"""The doors for programs and browsers: what a page, a script or another program talks to.

`http_*` is REST, a live stream, metrics and the page's files, on one port; a bearer token, which
is a capability grant, says what its holder may do.  Everything there is a client of the conductor:
it reads and calls what `ioe` reads and calls, and keeps nothing of its own but tokens.

`conductor_*` speaks the WebSocket protocol of Holochain's conductor, so that the unmodified npm
package `@holochain/client` (0.20.8 and 0.21.0) drives this node: an *admin* door to install apps,
grant capabilities and look inside, and *app* doors, each connection for one app and opened by a
token.

An **app** is a named set of cells.  The communities of the node are the app `ioe`, which nobody
installs.  Other apps come as bundles (`conductor_bundle`): gzip of a msgpack map of a manifest
and resources.  Our DNAs are Python, so a bundle carries no code: a role names its DNA by the
dotted name under which the owner has put it in `dnas` in the config, either as the role's `path`
or as the `name` of the DNA bundle that `path` points to.  `ioe bundle pack` writes such a bundle.

What differs from Holochain: coordinators come with the node, so `update_coordinators` is refused;
chains have no `InitZomesComplete`, and zomes no `init`, so `init_properties` are refused; a role
does not use another app's cell; a DNA's properties are a map of those that it declares; an agent
info is one of ours; a capability's empty list is refused, as it would mean everything here.

A zome function has named parameters, and Holochain's clients send one value: a map gives them by
name, any other value (or a map that does not name it) is the only parameter, nothing is none.

Two invariants.  Nothing gets past a door by what it says of itself: web pages are kept out by
their origin, programs by a token, calls by a signature over the very bytes that came and a grant
on the chain of the cell that is called.  And nothing that comes in over the wire ends the node,
holds up its event loop, or makes it keep more than the bounds that each module names.
Neighbours: `ioe_node.conductor` below, `ioe run` above.
"""
