// A libp2p peer of another implementation that is found, and finds, by mDNS.
//
//   node peer.mjs
//
// It prints its peer id and addresses first, then a line of JSON for each peer that it discovers
// and can dial: {"id": PEER_ID, "addresses": [MULTIADDR, ...]}.  It ends with its input.

// libp2p 3 wants this of Node 22; the rest of it runs on Node 20.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { mdns } = await import('@libp2p/mdns')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { ping } = await import('@libp2p/ping')

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  peerDiscovery: [mdns({ interval: 1000 })],
  services: { identify: identify(), ping: ping() }
})

function say ({ id, multiaddrs }) {
  process.stdout.write(JSON.stringify({ id: id.toString(), addresses: multiaddrs.map(String) }) + '\n')
}

say({ id: node.peerId, multiaddrs: node.getMultiaddrs() })
node.addEventListener('peer:discovery', async ({ detail }) => {
  try {
    await node.services.ping.ping(detail.id)
    say(detail)
  } catch (error) {
    process.stderr.write(`${detail.id}: ${error}\n`)
  }
})
process.stdin.on('end', () => node.stop()).resume()
