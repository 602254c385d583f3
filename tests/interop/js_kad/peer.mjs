// A libp2p peer of another implementation that takes part in a network's peer routing, and in
// nothing else of it.  Serves kad-dht, and does what it is told, one line of JSON each:
//
//   node peer.mjs KAD_PROTOCOL
//
// It prints its peer id and addresses first, then one answer a command: {"result": ...} or
// {"error": ...}.  {"do": "dial", "to": MULTIADDR or PEER_ID}, {"do": "findPeer", "id": PEER_ID},
// {"do": "closest", "key": HEX}.  It ends with its input.

// libp2p 3 wants this of Node 22; the rest of it runs on Node 20.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const { createInterface } = await import('node:readline')
const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { kadDHT, passthroughMapper } = await import('@libp2p/kad-dht')
const { peerIdFromString } = await import('@libp2p/peer-id')
const { ping } = await import('@libp2p/ping')
const { multiaddr } = await import('@multiformats/multiaddr')

const PATIENCE_MS = 20000

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({
      protocol: process.argv[2],
      clientMode: false,
      peerInfoMapper: passthroughMapper // its default leaves loopback addresses out
    })
  }
})

function told ({ id, multiaddrs }) {
  return { id: id.toString(), addresses: multiaddrs.map(String) }
}

const commands = {
  async dial ({ to }, signal) {
    const connection = await node.dial(to.startsWith('/') ? multiaddr(to) : peerIdFromString(to), { signal })
    return connection.remotePeer.toString()
  },
  async findPeer ({ id }, signal) {
    return told(await node.peerRouting.findPeer(peerIdFromString(id), { signal }))
  },
  async closest ({ key: hex }, signal) {
    const found = []
    const key = Uint8Array.from(Buffer.from(hex, 'hex'))
    // Asked of kad-dht itself: `node.peerRouting` gives them in no order.
    for await (const event of node.services.dht.getClosestPeers(key, { signal })) {
      if (event.name === 'FINAL_PEER') found.push(told(event.peer))
    }
    return found
  }
}

function say (what) {
  process.stdout.write(JSON.stringify(what) + '\n')
}

say({ id: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    say({ result: await commands[command.do](command, AbortSignal.timeout(PATIENCE_MS)) })
  } catch (error) {
    say({ error: `${error.name}: ${error.message}` })
  }
}
await node.stop()
